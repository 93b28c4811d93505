"""The peer of `cargo xtask bench`: training steps, evaluation and matrix products in PyTorch, with Feather's semantics.

Feather's reference implementation prunes in the forward pass. The threshold is a quantile of all magnitudes, found by
sorting. Each weight goes through an autograd function with p = 3. The backward pass scales the gradient of pruned
weights. This file implements the models and the operator again, in the memory format `channels_last`, which is
PyTorch's faster one on a CPU.

There are three variants:
- `published` finds the threshold by sorting, as the reference does;
- `tuned` finds it by `torch.kthvalue`, and uses the fused optimizer;
- `compiled` is `tuned` with the model compiled by `torch.compile`, which needs a C++ compiler.

Reads requests from standard input and writes a response to each to standard output; each is one line of JSON.
"""
import json
import re
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

try:
    import resource
except ImportError:  # Windows
    resource = None


class Feather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, cut, theta):
        magnitude = weight.abs()
        ctx.save_for_backward(magnitude > cut)
        ctx.theta = theta
        return weight.sign() * (magnitude**3 - cut**3).clamp_min(0).pow(1 / 3)

    @staticmethod
    def backward(ctx, grad):
        (kept,) = ctx.saved_tensors
        return torch.where(kept, grad, grad * ctx.theta), None, None


class Gated:
    """A layer that applies the operator to its weight while `cut` is set."""

    cut, theta = None, 1.0

    def pruned(self):
        return self.weight if Gated.cut is None else Feather.apply(self.weight, Gated.cut, Gated.theta)


class Conv(Gated, nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.pruned(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class Linear(Gated, nn.Linear):
    def forward(self, x):
        return F.linear(x, self.pruned(), self.bias)


class Block(nn.Module):
    def __init__(self, channels_in, channels_out):
        super().__init__()
        stride = 1 if channels_in == channels_out else 2
        self.conv1 = Conv(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = Conv(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = None
        if stride == 2:
            self.downsample = nn.Sequential(
                Conv(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet20(nn.Module):
    def __init__(self, classes=100):
        super().__init__()
        self.conv1, self.bn = Conv(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32)
        widths = [(32, 32)] * 3 + [(32, 64)] + [(64, 64)] * 2 + [(64, 128)] + [(128, 128)] * 2
        self.blocks = nn.Sequential(*(Block(*pair) for pair in widths))
        self.linear = Linear(128, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.linear.weight, 0, 0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.conv1(x)), inplace=True))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def unit(conv, channels):
    return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class MobileNetV1(nn.Module):
    def __init__(self, classes=100):
        super().__init__()
        parts, channels = unit(Conv(3, 32, 3, 1, 1, bias=False), 32), 32
        for stage, (wider, n) in enumerate([(64, 1), (128, 2), (256, 2), (512, 6), (1024, 2)]):
            for i in range(n):
                stride = 2 if stage > 0 and i == 0 else 1
                parts += unit(Conv(channels, channels, 3, stride, 1, groups=channels, bias=False), channels)
                parts += unit(Conv(channels, wider, 1), wider)
                channels = wider
        self.parts, self.fc = nn.Sequential(*parts), Linear(channels, classes)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.parts(x), 1).flatten(1))


class DenseLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), Conv(channels, 4 * growth, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * growth), Conv(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x), inplace=True))
        return torch.cat([x, self.conv2(F.relu(self.bn2(y), inplace=True))], 1)


class DenseNet40(nn.Module):
    def __init__(self, classes=100, growth=24):
        super().__init__()
        channels = 2 * growth
        parts = [Conv(3, channels, 3, 1, 1, bias=False)]
        for block in range(3):
            for _ in range(6):
                parts.append(DenseLayer(channels, growth))
                channels += growth
            if block < 2:
                parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
                parts += [Conv(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
                channels //= 2
        parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        self.parts, self.fc = nn.Sequential(*parts), Linear(channels, classes)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.parts(x), 1).flatten(1))


MODELS = {"resnet20": ResNet20, "mobilenet-v1": MobileNetV1, "densenet40-24": DenseNet40}


def layers(model):
    return [m for m in model.modules() if isinstance(m, Gated)]


def magnitudes(model):
    return torch.cat([m.weight.detach().abs().flatten() for m in layers(model)])


def cut_by_sorting(model, sparsity):
    """The quantile of all magnitudes by sorting, linear between neighbours, as in the reference."""
    everything = magnitudes(model).sort().values
    position = (len(everything) - 1) * sparsity
    low = int(position)
    high = min(low + 1, len(everything) - 1)
    return everything[low] + (everything[high] - everything[low]) * (position - low)


def cut_by_selection(model, sparsity):
    """The lower of the two magnitudes around the quantile, without sorting."""
    everything = magnitudes(model)
    return torch.kthvalue(everything, int((len(everything) - 1) * sparsity) + 1).values


def theta(sparsity):
    """The factor for the gradient of pruned weights, by the final sparsity."""
    return 0.5 if sparsity > 0.95 else 1.0


def optimizer(model, lr, fused):
    """SGD with momentum. Only weights of convolutions and linear layers are decayed."""
    decayed = [m.weight for m in layers(model)]
    others = [p for p in model.parameters() if all(p is not q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0}]
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, fused=fused)


def update(model, sgd, loss):
    """Backward pass and step of the optimizer, with the gradients clipped to norm 3."""
    sgd.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
    sgd.step()


class Session:
    def __init__(self, request):
        torch.manual_seed(request.get("seed", 0))
        torch.set_num_threads(request["threads"])
        self.model = MODELS[request["model"]]().to(memory_format=torch.channels_last)
        self.load(request.get("weights"))
        self.batch, self.sparsity = request["batch"], request["sparsity"]
        is_tuned = request.get("variant", "published") != "published"
        self.cut_of = cut_by_selection if is_tuned else cut_by_sorting
        self.sgd = optimizer(self.model, request.get("lr", 1e-3), is_tuned)
        self.images = torch.randn(self.batch, 3, 32, 32)
        self.labels = torch.randint(100, (self.batch,))
        Gated.theta = theta(self.sparsity)
        self.forward = torch.compile(self.model) if request.get("variant") == "compiled" else self.model

    def load(self, path):
        if path:
            from safetensors.torch import load_file

            found = load_file(path)
            for module, name in zip(layers(self.model), names_in_order(found), strict=True):
                module.weight.data.copy_(found[name])

    def step(self):
        begun = time.perf_counter()
        Gated.cut = self.cut_of(self.model, self.sparsity) if self.sparsity > 0 else None
        images = self.images.to(memory_format=torch.channels_last)
        loss = F.cross_entropy(self.forward(images), self.labels)
        update(self.model, self.sgd, loss)
        loss.item()
        return time.perf_counter() - begun

    def cut(self):
        begun = time.perf_counter()
        self.cut_of(self.model, self.sparsity)
        return time.perf_counter() - begun

    def evaluate(self):
        self.model.eval()
        with torch.no_grad():
            begun = time.perf_counter()
            self.forward(self.images.to(memory_format=torch.channels_last)).argmax(1).sum().item()
            took = time.perf_counter() - begun
        self.model.train()
        return took


def names_in_order(found):
    """Names of the convolution and linear weights, in the order in which the modules of the peer are registered."""
    names = [name for name in found if name.endswith("weight") and found[name].dim() in (2, 4)]
    # Position of a layer within its block, by the word in its path. Numbers in a path sort by value.
    words = {"conv1": 0, "conv2": 1, "depthwise": 0, "pointwise": 1, "downsample": 2}

    def key(name):
        parts = name.split(".")[:-1]
        stage = re.fullmatch(r"(layer|block|trans|conv)(\d)", parts[0])
        first = (0, 0)
        if parts[0] in ("linear", "fc"):
            first = (9, 0)
        elif stage and (len(parts) > 1 or stage[1] != "conv"):
            first = (int(stage[2]), 1 if stage[1] == "trans" else 0)
        return first, [int(p) if p.isdigit() else words.get(p, 0) for p in parts[1:]]

    return sorted(names, key=key)


def missing(session, request):
    """The error if this variant cannot run here: `torch.compile` compiles at the first call."""
    if request.get("variant") != "compiled":
        return {}
    try:
        session.step()
    except Exception as error:
        return {"missing": str(error).strip().split("\n")[0]}
    return {}


def sgemm(request):
    torch.set_num_threads(request["threads"])
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(6):
        begun = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begun)
    return 2 * 2048**3 / best


def peak_memory():
    """Peak memory of this process in bytes; None where the system does not report it."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main():
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        what = request["do"]
        if what == "open":
            session = Session(request)
            answer = {"torch": torch.__version__} | missing(session, request)
        elif what == "sgemm":
            answer = {"flops": sgemm(request)}
        elif what == "memory":
            answer = {"bytes": peak_memory()}
        else:
            answer = {"seconds": {"step": session.step, "cut": session.cut, "eval": session.evaluate}[what]()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
