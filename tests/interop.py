"""Loads a pruned checkpoint into PyTorch modules of the same structure and compares logits.

Usage: interop.py MODEL CLASSES CHECKPOINT LOGITS
LOGITS is a safetensors file with `input` and the `logits` that taper computed.
Prints one JSON object; a failure is an exception.
"""

import json
import sys

import torch
from safetensors.torch import load_file
from torch import nn


class Block(nn.Module):
    def __init__(self, channels_in, channels_out):
        super().__init__()
        stride = 1 if channels_in == channels_out else 2
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = None
        if stride == 2:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, 2, bias=False))
            self.bn3 = nn.BatchNorm2d(channels_out)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.bn3(self.downsample(x))
        return torch.relu(y + shortcut)


class ResNet20(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(32)
        stage = lambda i, o: nn.Sequential(Block(i, o), Block(o, o), Block(o, o))
        self.layer1, self.layer2, self.layer3 = stage(32, 32), stage(32, 64), stage(64, 128)
        self.linear = nn.Linear(128, classes)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class DigitsCnn(nn.Module):
    def __init__(self, classes):
        super().__init__()
        for i, (channels_in, channels_out, stride) in enumerate([(1, 16, 1), (16, 32, 2), (32, 64, 1)], 1):
            setattr(self, f"conv{i}", nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels_out))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        for i in (1, 2, 3):
            x = torch.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.linear(x.mean((2, 3)))


def main(model, classes, checkpoint, logits):
    net = {"resnet20": ResNet20, "digits-cnn": DigitsCnn}[model](int(classes)).eval()
    state = load_file(checkpoint)
    net.load_state_dict(state, strict=True)
    ours = load_file(logits)
    with torch.no_grad():
        theirs = net(ours["input"])
    weights = [p for p in net.parameters() if p.dim() in (2, 4)]
    print(
        json.dumps(
            {
                "max_abs_error": (theirs - ours["logits"]).abs().max().item(),
                "max_abs_logit": theirs.abs().max().item(),
                "n_kept": sum(int((w != 0).sum()) for w in weights),
            }
        )
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
