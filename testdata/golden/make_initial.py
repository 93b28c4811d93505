"""Writes scores and masks at initialisation on two tiny networks, for tests/golden/initial.rs.

    pip install torch
    python make_initial.py               # writes initial.json beside this file

GraSP (arXiv:2002.07376) takes two backward passes of PyTorch, SynFlow (arXiv:2006.05467) one in each round. Both follow
the equations of the papers, in f64. Weights are multiples of 1/4096 and images multiples of 1/4: f32 represents them
exactly.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

CLASSES, PER_CLASS, BATCH, TEMPERATURE, ROUNDS = 3, 2, 4, 200.0, 10
SPARSITIES = [0.35, 0.6, 0.8]
N_IMAGES, SIDE, EPS = 12, 4, 1e-5
NETWORKS = {
    # Flattened images; layers of 16 to 5 and 5 to 3 units.
    "mlp": {"fc1.weight": [5, 16], "fc1.bias": [5], "fc2.weight": [CLASSES, 5], "fc2.bias": [CLASSES]},
    # Two convolutions with batch normalization, the second with stride 2; then global average pooling.
    "conv": {
        "conv1.weight": [3, 1, 3, 3],
        "bn1.weight": [3],
        "bn1.bias": [3],
        "conv2.weight": [4, 3, 3, 3],
        "bn2.weight": [4],
        "bn2.bias": [4],
        "fc.weight": [CLASSES, 4],
        "fc.bias": [CLASSES],
    },
}


def drawn(generator, shape, least, most):
    return torch.randint(least, most + 1, shape, generator=generator)


def parameters(name, seed):
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for key, shape in NETWORKS[name].items():
        value = drawn(generator, shape, -3000, 3000)
        # No value is 0.
        values[key] = (value + (value >= 0).long()).double() / 4096
    return values


def is_prunable(key):
    return key.endswith(".weight") and not key.startswith("bn")


def batch_norm(x, p, name):
    mean = x.mean((0, 2, 3), keepdim=True)
    var = (x - mean).square().mean((0, 2, 3), keepdim=True)
    weight, bias = (p[f"{name}.{key}"].reshape(1, -1, 1, 1) for key in ("weight", "bias"))
    return (x - mean) / (var + EPS).sqrt() * weight + bias


def logits(name, p, x):
    """Logits in training mode, and the smallest magnitude among the inputs of the ReLUs."""
    if name == "mlp":
        before = [x.flatten(1) @ p["fc1.weight"].T + p["fc1.bias"]]
        z = before[0].relu() @ p["fc2.weight"].T + p["fc2.bias"]
    else:
        before = [batch_norm(F.conv2d(x, p["conv1.weight"], padding=1), p, "bn1")]
        before.append(batch_norm(F.conv2d(before[0].relu(), p["conv2.weight"], stride=2, padding=1), p, "bn2"))
        z = before[1].relu().mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]
    return z, min(b.abs().min().item() for b in before)


def flow(name, weights, p):
    """The synaptic flow of non-negative weights: no biases, and batch norm with its initial running statistics."""
    x = torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)
    if name == "mlp":
        return (x.flatten(1) @ weights["fc1.weight"].T @ weights["fc2.weight"].T).sum()
    for conv, bn, stride in (("conv1", "bn1", 1), ("conv2", "bn2", 2)):
        x = F.conv2d(x, weights[f"{conv}.weight"], stride=stride, padding=1)
        x = x * p[f"{bn}.weight"].abs().reshape(1, -1, 1, 1) / (1 + EPS) ** 0.5
    return (x.mean((2, 3)) @ weights["fc.weight"].T).sum()


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def kept(scores, n_keep):
    """Indices of the largest scores. Fails if the smallest kept score is too close to the largest pruned one."""
    order = torch.argsort(scores, descending=True, stable=True)
    gap = (scores[order[n_keep - 1]] - scores[order[n_keep]]) / (scores.max() - scores.min())
    assert gap > 1e-5, gap
    return sorted(order[:n_keep].tolist())


def grasp(name, p, images, labels):
    seen, chosen = [0] * CLASSES, []
    for i, label in enumerate(labels.tolist()):
        seen[label] += 1
        if seen[label] <= PER_CLASS:
            chosen.append(i)
    keys = [key for key in p if is_prunable(key)]
    weights = [p[key].clone().requires_grad_() for key in keys]
    loss = 0
    for at in range(0, len(chosen), BATCH):
        batch = chosen[at : at + BATCH]
        z, nearest = logits(name, p | dict(zip(keys, weights)), images[batch])
        assert nearest > 1e-4, nearest
        loss = loss + F.cross_entropy(z / TEMPERATURE, labels[batch], reduction="sum") / len(chosen)
    gradient = torch.autograd.grad(loss, weights, create_graph=True)
    product = torch.autograd.grad(sum((g * g.detach()).sum() for g in gradient), weights)
    scores = flat([w.detach() * h for w, h in zip(weights, product)])
    relative = (scores - scores.min()) / (scores.max() - scores.min())
    return {"gradient": flat(gradient).tolist(), "scores": relative.tolist()}, scores


def synflow(name, p, sparsity):
    keys = [key for key in p if is_prunable(key)]
    sizes = [p[key].numel() for key in keys]
    mask = torch.ones(sum(sizes), dtype=torch.float64)
    rounds, first = [], None
    for k in range(1, ROUNDS + 1):
        parts = zip(keys, mask.split(sizes))
        weights = [(p[key].abs() * part.reshape(p[key].shape)).requires_grad_() for key, part in parts]
        gradient = torch.autograd.grad(flow(name, dict(zip(keys, weights)), p), weights)
        scores = flat([w.detach() * g for w, g in zip(weights, gradient)])
        if first is None:
            first = (scores / scores.max()).tolist()
        n_keep = round(sum(sizes) * (1 - sparsity) ** (k / ROUNDS))
        places = kept(scores, n_keep)
        mask = torch.zeros_like(mask)
        mask[places] = 1
        rounds.append(n_keep)
    return first, {"sparsity": sparsity, "counts": rounds, "kept": places}


def case(name, seed):
    p = parameters(name, seed)
    generator = torch.Generator().manual_seed(100 + seed)
    pixels = drawn(generator, (N_IMAGES, 1, SIDE, SIDE), 0, 8)
    labels = drawn(generator, (N_IMAGES,), 0, CLASSES - 1)
    assert all((labels == c).sum() >= PER_CLASS for c in range(CLASSES))
    found, scores = grasp(name, p, (pixels.double() - 4) / 4, labels)
    n = len(scores)
    masks = [{"sparsity": s, "kept": kept(scores, round(n * (1 - s)))} for s in SPARSITIES]
    flows = [synflow(name, p, s) for s in SPARSITIES]
    return {
        "name": name,
        "parameters": {key: {"shape": list(v.shape), "values": v.flatten().tolist()} for key, v in p.items()},
        "pixels": pixels.flatten().tolist(),
        "labels": labels.tolist(),
        "grasp": found | {"masks": masks},
        "synflow": {"scores": flows[0][0], "masks": [mask for _, mask in flows]},
    }


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    cases = []
    for name in NETWORKS:
        # The first seed for which rounding decides nothing: the assertions above hold.
        for seed in range(1000):
            try:
                cases.append(case(name, seed))
                break
            except AssertionError:
                pass
        else:
            raise SystemExit(f"no seed fits {name}")
    settings = {
        "per_class": PER_CLASS,
        "batch": BATCH,
        "temperature": TEMPERATURE,
        "rounds": ROUNDS,
        "side": SIDE,
    }
    path = Path(__file__).with_name("initial.json")
    # One line for each case.
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(json.dumps(settings)[:-1] + f', "cases": [\n{lines}\n]}}\n')
    print(path, {c["name"]: len(c["grasp"]["scores"]) for c in cases})
