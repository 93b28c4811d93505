"""Trains ResNet-20 on CIFAR-100 in PyTorch with Feather's protocol: the peer of the suite cifar100-mid.

    python benches/peers/train.py --data data100 --sparsity 0.98 --epochs 30 --seed 0 --out out/torch-0.98-seed0

`--data` is a folder with `train-*.parquet` and `test-*.parquet` of the data set uoft-cs/cifar100. Needs torch, pyarrow
and pillow. Model, operator and threshold are those of `step.py`. The protocol is that of `experiments/cifar100`:

- images are normalised with the constants of CIFAR-10, padded by four pixels, cropped and flipped at random;
- SGD with momentum, weight decay on weights of convolutions and linear layers, gradients clipped to norm 3;
- a cosine learning rate, one step late, as in the reference;
- the sparsity follows a cubic ramp over the first half of the steps; the threshold is computed in every step.

The initial weights and the order of images are PyTorch's, so single seeds differ from Taper's, and means should not.
`--sparsity 0` trains a dense network. Each epoch writes a checkpoint; the same command continues after it. At the end,
`result.json` has the test accuracy after the last epoch, at the exact sparsity.
"""
import argparse
import io
import json
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from step import Gated, ResNet20, magnitudes, optimizer, theta, update

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BATCH, PEAK_RATE, PAD = 128, 0.1, 4


def read(folder, part):
    """Images as uint8 of shape `[n, 3, 32, 32]`, and labels."""
    import pyarrow.parquet
    from PIL import Image

    images, labels = [], []
    for file in sorted(folder.glob(f"{part}-*.parquet")):
        table = pyarrow.parquet.read_table(file, columns=["img", "fine_label"])
        for row in table.to_pylist():
            images.append(np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB")))
            labels.append(row["fine_label"])
    if not images:
        raise SystemExit(f"error: {folder} has no {part}-*.parquet; download the data set uoft-cs/cifar100")
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def normalised(images):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((images / 255 - mean) / std).to(memory_format=torch.channels_last)


def augmented(images):
    """Each image padded with black pixels, cropped at a random place and flipped with probability ½."""
    n, size = len(images), images.shape[-1]
    padded = F.pad(images, (PAD,) * 4)
    top, left = torch.randint(2 * PAD + 1, (2, n))
    places = torch.arange(size)
    columns = left[:, None] + torch.where(torch.rand(n, 1) < 0.5, places.flip(0), places)
    rows = top[:, None] + places
    index = torch.arange(n)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def rate(step, steps):
    return PEAK_RATE * (1 + math.cos(math.pi * max(step - 1, 0) / steps)) / 2


def target(step, steps, final):
    progress = min(step / (steps / 2), 1)
    return final * (1 - (1 - progress) ** 3)


def cut(model, sparsity):
    """The quantile of all magnitudes, linear between its neighbours, found by selection: the value that sorting gives."""
    if sparsity == 0:
        return None
    everything = magnitudes(model).numpy()
    position = (len(everything) - 1) * sparsity
    low = int(position)
    everything.partition([low, low + 1])
    return torch.tensor(everything[low] + (everything[low + 1] - everything[low]) * np.float32(position - low))


def evaluate(model, images, labels, sparsity):
    """Accuracy, loss, and the fraction of pruned weights."""
    Gated.cut = cut(model, sparsity)
    model.eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for batch, of in zip(images.split(500), labels.split(500)):
            logits = model(normalised(batch))
            correct += (logits.argmax(1) == of).sum().item()
            loss += F.cross_entropy(logits, of, reduction="sum").item()
        pruned = 0 if Gated.cut is None else (magnitudes(model) <= Gated.cut).double().mean().item()
    model.train()
    return correct / len(labels), loss / len(labels), pruned


def write(path, content):
    """Writes a whole file or nothing."""
    partial = path.with_suffix(".partial")
    partial.write_text(content) if isinstance(content, str) else torch.save(content, partial)
    partial.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--sparsity", type=float, default=0.98)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    recipe = {name: getattr(args, name) for name in ("sparsity", "epochs", "seed")}

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    (images, labels), test = read(args.data, "train"), read(args.data, "test")
    model = ResNet20().to(memory_format=torch.channels_last)
    sgd = optimizer(model, PEAK_RATE, fused=True)
    Gated.theta = theta(args.sparsity)

    epochs, seconds = [], 0.0
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        if saved["recipe"] != recipe:
            raise SystemExit(f"error: {args.out} holds another run, {saved['recipe']}; choose another --out")
        model.load_state_dict(saved["model"])
        sgd.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        epochs, seconds = saved["epochs"], saved["seconds"]

    per_epoch = math.ceil(len(labels) / BATCH)
    steps = args.epochs * per_epoch
    for epoch in range(len(epochs), args.epochs):
        begun, total = time.perf_counter(), 0.0
        for i, batch in enumerate(torch.randperm(len(labels)).split(BATCH)):
            step = epoch * per_epoch + i
            for group in sgd.param_groups:
                group["lr"] = rate(step, steps)
            Gated.cut = cut(model, target(step, steps, args.sparsity))
            loss = F.cross_entropy(model(normalised(augmented(images[batch]))), labels[batch])
            update(model, sgd, loss)
            total += loss.item() * len(batch)
        seconds += time.perf_counter() - begun
        accuracy, test_loss, pruned = evaluate(model, *test, target(step, steps, args.sparsity))
        epochs.append({"train_loss": total / len(labels), "test_loss": test_loss, "test_accuracy": accuracy, "sparsity": pruned})
        print(f"epoch {epoch + 1:3}: {json.dumps(epochs[-1])}", flush=True)
        state = {"model": model.state_dict(), "optimizer": sgd.state_dict(), "random": torch.get_rng_state()}
        write(checkpoint, state | {"recipe": recipe, "epochs": epochs, "seconds": seconds})

    # The ramp ended half-way, so the last evaluation was at the final sparsity.
    last = {name: epochs[-1][name] for name in ("test_accuracy", "test_loss")}
    result = recipe | last | {"pruned": epochs[-1]["sparsity"], "torch": torch.__version__}
    write(args.out / "result.json", json.dumps(result | {"seconds": seconds, "history": epochs}, indent=1) + "\n")
    print(f"test accuracy {last['test_accuracy']:.2%} at sparsity {result['pruned']:.2%}")


if __name__ == "__main__":
    main()
