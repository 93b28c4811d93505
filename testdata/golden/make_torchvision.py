"""Writes zoo_resnet18.* and zoo_resnet50.*: what torchvision's networks are and compute, in the form of the other zoo_ files.

    python make_torchvision.py     # needs torch, torchvision, numpy and safetensors

Weights are drawn by the rule of tests/golden/fill.rs, images and labels from it as well; everything is computed in f64.
"""

import json
import pathlib

import numpy as np
import safetensors.torch
import torch
import torchvision

SEED, CLASSES, BATCH, SIZE = 2025, 10, 16, 64
HERE = pathlib.Path(__file__).parent
GRADIENTS = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer4.1.bn2.bias", "fc.weight", "fc.bias")


def draws(seed, name, n):
    """The first n numbers of splitmix64, started from FNV-1a of `seed/name`."""
    state = 0xCBF29CE484222325
    for byte in f"{seed}/{name}".encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed, name, n, low, high):
    return low + (high - low) * ((draws(seed, name, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def bell(seed, name, n, gain, fan_in):
    pairs = draws(seed, name, 2 * n).reshape(n, 2)
    halves = [(pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)]
    total = sum(half.sum(axis=1) for half in halves) - 2 * (2**32 - 1)
    return total / 2.0**32 * 3**0.5 * (gain / fan_in) ** 0.5


def fill(seed, name, shape):
    n, last = int(np.prod(shape)), name.rsplit(".", 1)[-1]
    if last == "weight" and len(shape) == 4:
        values = bell(seed, name, n, 2.0, shape[1] * shape[2] * shape[3])
    elif last == "weight" and len(shape) == 2:
        values = bell(seed, name, n, 1.0, shape[1])
    elif last == "weight":
        values = uniform(seed, name, n, 0.75, 1.25)
    elif last in ("bias", "running_mean"):
        values = uniform(seed, name, n, -0.1, 0.1)
    elif last == "running_var":
        values = uniform(seed, name, n, 0.5, 1.5)
    else:
        values = np.zeros(n)
    return values.astype(np.float32).reshape(shape)


def macs(model):
    """Multiply-accumulates of each layer for an image of 224x224."""
    found = []

    def hook(name):
        def count(module, _, out):
            pixels = out.shape[2] * out.shape[3] if out.dim() == 4 else 1
            found.append({"layer": name, "macs": module.weight.numel() * pixels})

        return count

    layers = {n: m for n, m in model.named_modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))}
    handles = [module.register_forward_hook(hook(name)) for name, module in layers.items()]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    order = list(layers)
    return sorted(found, key=lambda layer: order.index(layer["layer"]))


def write(kind):
    model = getattr(torchvision.models, kind)(num_classes=CLASSES)
    state = model.state_dict()
    kinds = {torch.float32: "float32", torch.int64: "int64"}
    filled = {name: fill(SEED, name, tuple(t.shape)) for name, t in state.items()}
    per_layer = macs(model)
    params = dict(model.named_parameters())
    prunable = [name for name, p in params.items() if p.dim() > 1]
    others = [name for name, p in params.items() if p.dim() <= 1]
    checks = {}
    for name, values in filled.items():
        if state[name].dtype == torch.float32:
            flat = values.reshape(-1)
            wide = flat.astype(np.float64)
            checks[name] = {
                "first_bits_hex": [f"{bits:08x}" for bits in flat[:4].view(np.uint32)],
                "first": [float(v) for v in flat[:4]],
                "sum_f64": float(wide.sum()),
                "sum_sq_f64": float((wide**2).sum()),
            }

    images = bell(SEED, f"{kind}/images", BATCH * 3 * SIZE * SIZE, 1.0, 1).astype(np.float32)
    images = torch.from_numpy(images.reshape(BATCH, 3, SIZE, SIZE))
    labels = torch.from_numpy((draws(SEED, f"{kind}/labels", BATCH) % np.uint64(CLASSES)).astype(np.int64))
    def load(model):
        model.load_state_dict({name: torch.from_numpy(v).to(state[name].dtype) for name, v in filled.items()})
        return model

    with torch.no_grad():
        in_f32 = load(model).train()(images)
    model = load(model.double())
    tensors = {"dense.input": images, "dense.labels": labels}
    with torch.no_grad():
        tensors["dense.logits_eval_f64run"] = model.eval()(images.double()).float()
    logits = model.train()(images.double())
    tensors["dense.logits_train_f64run"] = logits.detach().float()
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for name in GRADIENTS:
        if name in gradients:
            tensors[f"dense.grad_f64run.{name}"] = gradients[name].float().contiguous()
    for name in ("bn1.running_mean", "bn1.running_var", "layer4.0.downsample.1.running_var"):
        tensors[f"dense.after_train_step.{name}"] = model.state_dict()[name].float().contiguous()

    document = {
        "model": kind,
        "num_classes": CLASSES,
        "made_with": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "fill": {"seed": SEED, "checks": checks},
        "state_dict": [
            {"name": name, "shape": list(t.shape), "dtype": kinds[t.dtype]} for name, t in state.items()
        ],
        "prunable": [{"param": name, "numel": params[name].numel()} for name in prunable],
        "weight_decay_params": prunable,
        "no_weight_decay_params": others,
        "macs_per_layer": per_layer,
        "counts": {
            "total_params": sum(p.numel() for p in params.values()),
            "prunable_params": sum(params[name].numel() for name in prunable),
            "prunable_layers": len(prunable),
            "state_dict_entries": len(state),
            "no_weight_decay_params": sum(params[name].numel() for name in others),
            "total_macs_32x32": sum(layer["macs"] for layer in per_layer),
        },
        "dense": {
            "loss_f64": float(loss.detach()),
            "total_grad_norm_f64": float(torch.sqrt(sum((g**2).sum() for g in gradients.values()))),
            "relu_sign_flips_f32_vs_f64": 0,
            "logits_train_f32_vs_f64": float((in_f32.double() - logits.detach()).abs().max()),
            "grad_l2": {name: {"f64": float(g.norm())} for name, g in gradients.items()},
        },
    }
    (HERE / f"zoo_{kind}.json").write_text(json.dumps(document, indent=1) + "\n")
    safetensors.torch.save_file(tensors, HERE / f"zoo_{kind}.safetensors")


for kind in ("resnet18", "resnet50"):
    write(kind)
