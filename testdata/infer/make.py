"""Writes network.onnx: a small network in the form that other tools export, for tests of programs that run ONNX files.

The input is an image of 2 x 5 x 7. The layers are a convolution with two thirds of its weights 0, ReLU, global average
pooling and a linear layer with three outputs. The batch size is open. Written with onnx 1.23.
"""
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

random = np.random.default_rng(0)


def draw(*shape):
    return random.standard_normal(shape).astype(np.float32)


conv = draw(4, 2, 3, 3)
conv[random.random(conv.shape) < 2 / 3] = 0
tensors = {"conv.weight": conv, "conv.bias": draw(4), "linear.weight": draw(3, 4), "linear.bias": draw(3)}
nodes = [
    helper.make_node("Conv", ["images", "conv.weight", "conv.bias"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("GlobalAveragePool", ["b"], ["c"]),
    helper.make_node("Flatten", ["c"], ["d"], axis=1),
    helper.make_node("Gemm", ["d", "linear.weight", "linear.bias"], ["results"], transB=1),
]
graph = helper.make_graph(
    nodes,
    "small",
    [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 2, 5, 7])],
    [helper.make_tensor_value_info("results", TensorProto.FLOAT, ["batch", 3])],
    [numpy_helper.from_array(value, name) for name, value in tensors.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model)
Path(__file__).with_name("network.onnx").write_bytes(model.SerializeToString())
