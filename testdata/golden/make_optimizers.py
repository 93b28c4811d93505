"""Writes steps of PyTorch's optimizers on given gradients, for tests/golden/optimizers.rs.

    pip install torch
    python make_optimizers.py            # writes optimizers.json beside this file

Every case updates a weight, with weight decay, and a bias, without it. The gradients are given; there is no network.
Values are those of a run in f64. `f32_error` is the largest deviation of the same run in f32, relative to 1 + |value|.
"""

import json
from pathlib import Path

import torch

STEPS = 12
WEIGHT = [0.5, -0.25, 1.0, -2.0, 0.0, 0.125]
BIAS = [0.75, -1.5]
RATES = [0.1, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01, 0.01, 0.005, 0.001]
CASES = {
    "sgd": {"momentum": 0.9, "weight_decay": 5e-4},
    "sgd without momentum": {"momentum": 0.0, "weight_decay": 0.01},
    "sgd with nesterov": {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
    "sgd with dampening": {"momentum": 0.8, "weight_decay": 0.01, "dampening": 0.3},
    "adamw": {"weight_decay": 0.01},
    "adamw with other numbers": {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-3},
}


def gradients(step):
    """The gradients of weight and bias, in sixteenths. The last weight has a gradient in the first step only."""
    draw = [((i * 7 + step * 5) % 13 - 6) / 16 for i in range(8)]
    if step > 0:
        draw[5] = 0.0
    return draw[:6], draw[6:]


def run(name, settings, dtype):
    weight, bias = (torch.nn.Parameter(torch.tensor(v, dtype=dtype)) for v in (WEIGHT, BIAS))
    groups = [{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}]
    kind = torch.optim.AdamW if name.startswith("adamw") else torch.optim.SGD
    optimizer = kind(groups, lr=RATES[0], **settings)
    trace = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATES[step]
        for parameter, gradient in zip((weight, bias), gradients(step)):
            parameter.grad = torch.tensor(gradient, dtype=dtype)
        optimizer.step()
        trace.append({"weight": weight.tolist(), "bias": bias.tolist()})
    return trace


def error(wide, narrow):
    pairs = [(w, n) for a, b in zip(wide, narrow) for key in a for w, n in zip(a[key], b[key])]
    return max(abs(w - n) / (1 + abs(w)) for w, n in pairs)


def case(name, settings):
    wide, narrow = (run(name, settings, dtype) for dtype in (torch.float64, torch.float32))
    return {"name": name, **settings, "f32_error": error(wide, narrow), "after": wide}


made = {
    "torch": torch.__version__.split("+")[0],
    "weight": WEIGHT,
    "bias": BIAS,
    "rates": RATES,
    "gradients": [dict(zip(("weight", "bias"), gradients(step))) for step in range(STEPS)],
    "cases": [case(name, settings) for name, settings in CASES.items()],
}
path = Path(__file__).resolve().parent / "optimizers.json"
path.write_text(json.dumps(made, indent=1) + "\n")
print(path, [(c["name"], c["f32_error"]) for c in made["cases"]])
