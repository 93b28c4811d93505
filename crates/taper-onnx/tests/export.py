"""Exports networks with randomly pruned weights from PyTorch: `export.py FOLDER`.

Writes NAME.onnx for each network. NAME.images has two images and NAME.results their results from onnxruntime, both as
little-endian f32. Prints the names."""

import logging
import pathlib
import sys
import warnings

import onnxruntime
import torch
import torchvision.models as zoo
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
torch.set_num_threads(1)

DENSITY = 0.1


class Odd(nn.Module):
    """Operators that the networks of torchvision do not have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=1)
        self.norm = nn.BatchNorm1d(8 * 5 * 10)
        self.linear = nn.Linear(8 * 5 * 10, 5, bias=False)
        self.bias = nn.Parameter(torch.randn(5))
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.slope = nn.Parameter(torch.randn(3))

    def forward(self, x):
        x = F.pad(self.conv(x - 0.5), (1, 2, 0, 1), value=0.25)
        x = F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True)
        x = F.max_pool2d(F.interpolate(x, scale_factor=2.0), 3, 2, 1, ceil_mode=True)
        x = F.interpolate(x, scale_factor=(2.0, 1.0), mode="nearest")
        x = F.hardswish(x) / 3 + F.silu(x) * self.scale
        x = F.leaky_relu(x, 0.1) - F.hardsigmoid(x) - F.relu6(x + 3) * x / 6
        first, second = x.split((3, 5), 1)
        x = torch.cat([torch.maximum(second, torch.tensor(-0.5)), F.prelu(first, self.slope)], 1)
        x = torch.cat([-x[:, 1::2], *x[:, ::2].chunk(2, 1)], 1)
        x = F.adaptive_max_pool2d(x, 1) * torch.sigmoid(x.mean((2, 3), keepdim=True)) + x
        x = F.avg_pool2d(x, (2, 1), count_include_pad=False)
        x = self.norm(x.reshape(x.size(0), -1))
        x = F.dropout(x, training=self.training)
        return F.softmax(torch.matmul(x, self.linear.weight.t()) + self.bias, 1)


def vgg():
    network = zoo.vgg11_bn(num_classes=10)
    network.avgpool = nn.Identity()
    network.classifier = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))
    return network


# Name, network, rows and columns of the images, opset, exporter, and the batch size if it is fixed.
NETWORKS = [
    ("resnet18", zoo.resnet18, (64, 64), 11, "torchscript", None),
    ("resnet50", zoo.resnet50, (65, 56), 18, "dynamo", None),
    ("mobilenet_v2", lambda **k: zoo.mobilenet_v2(width_mult=0.5, **k), (64, 64), 13, "torchscript", None),
    ("mobilenet_v3_small", zoo.mobilenet_v3_small, (64, 48), 13, "torchscript", None),
    ("densenet121", zoo.densenet121, (32, 32), 17, "torchscript", None),
    ("efficientnet_b0", zoo.efficientnet_b0, (32, 48), 20, "dynamo", None),
    ("vgg11_bn", lambda **_: vgg(), (32, 32), 22, "dynamo", None),
    ("squeezenet1_1", zoo.squeezenet1_1, (64, 64), 11, "torchscript", 2),
    ("mnasnet0_5", zoo.mnasnet0_5, (64, 64), 22, "dynamo", 2),
    ("regnet_y_400mf", zoo.regnet_y_400mf, (40, 40), 18, "dynamo", None),
    ("googlenet", lambda **k: zoo.googlenet(aux_logits=False, init_weights=False, **k), (64, 64), 17, "torchscript", None),
    ("odd11", lambda **_: Odd(), (14, 13), 11, "torchscript", None),
    ("odd13", lambda **_: Odd(), (14, 13), 13, "torchscript", None),
    ("odd17", lambda **_: Odd(), (14, 13), 17, "torchscript", 2),
    ("odd20", lambda **_: Odd(), (14, 13), 20, "dynamo", None),
]


def prune(network, size):
    """Sets nine of ten weights to zero, and batch norm's running statistics to those of one batch."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            weight = module.weight.data
            fan_in = weight[0].numel()
            kept = (torch.rand_like(weight) < DENSITY) if fan_in > 16 else torch.ones_like(weight, dtype=torch.bool)
            module.weight.data = torch.randn_like(weight) * kept * (2 / (fan_in * kept.float().mean())) ** 0.5
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = None
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, *size))
    for module in network.modules():
        # Channels of almost no variance would amplify rounding errors.
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_var.clamp_(min=0.8 * float(module.running_var.mean()))
    return network.eval()


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, build, size, opset, exporter, batch in NETWORKS:
        torch.manual_seed(len(name) + opset)
        network = prune(build(num_classes=10), size)
        images = torch.randn(2, 3, *size)
        path = folder / f"{name}.onnx"
        if exporter == "dynamo":
            shapes = None if batch else ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                network, (images,), path, opset_version=opset, dynamo=True, dynamic_shapes=shapes, verbose=False
            )
        else:
            axes = None if batch else {"x": {0: "batch"}, "y": {0: "batch"}}
            torch.onnx.export(
                network, (images,), path, opset_version=opset, dynamo=False, dynamic_axes=axes,
                input_names=["x"], output_names=["y"],
            )
        session = onnxruntime.InferenceSession(path)
        [results] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        images.numpy().tofile(folder / f"{name}.images")
        results.tofile(folder / f"{name}.results")
        print(name, flush=True)


main()
