"""Compares parts of benches/peers/train.py with what a run of taper recorded, and with simpler definitions.

Usage: peer.py CURVES
CURVES is the `curves.csv` of results that have the row `feather` at 98 % with 30 epochs.
A failure is an exception.
"""

import csv
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "benches/peers"))
import step
import train

# Learning rate and sparsity of the last step of each epoch.
EPOCHS, PER_EPOCH = 30, 391
with open(sys.argv[1]) as file:
    rows = [row for row in csv.DictReader(file) if row["row"] == "feather" and row["cell"] == "0.98" and row["seed"] == "0"]
assert len(rows) == EPOCHS, len(rows)
for row in rows:
    at = int(row["step"]) - 1
    assert abs(train.rate(at, EPOCHS * PER_EPOCH) - float(row["lr"])) < 1e-12, row
    assert abs(train.target(at, EPOCHS * PER_EPOCH, 0.98) - float(row["sparsity_target"])) < 1e-12, row

# Initial values have the distributions of the zoo's network.
torch.manual_seed(0)
model = step.ResNet20()
expected = [(2 / layer.weight[:, 0].numel()) ** 0.5 for layer in step.layers(model)[:-1]] + [0.01]
for layer, std in zip(step.layers(model), expected, strict=True):
    assert abs(layer.weight.std().item() / std - 1) < 0.1, (layer, std)
assert not model.linear.bias.any()

# The threshold is the one that sorting finds.
assert train.cut(model, 0) is None
for sparsity in (0.1, 0.98, 0.9999):
    assert train.cut(model, sparsity).item() == step.cut_by_sorting(model, sparsity).item(), sparsity

# Each augmented image is one of the 81 crops of the padded image or its mirror image, and all kinds occur.
images = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8)
padded, seen = F.pad(images, (4, 4, 4, 4)), set()
for source, result in zip(padded, train.augmented(images), strict=True):
    crops = {(top, left): source[:, top : top + 32, left : left + 32] for top in range(9) for left in range(9)}
    found = [(place, flip) for place, crop in crops.items() for flip in (False, True)
             if torch.equal(crop.flip(-1) if flip else crop, result)]
    assert len(found) == 1, found
    seen.add(found[0])
assert {flip for _, flip in seen} == {False, True} and {top for (top, _), _ in seen} == set(range(9)), seen
