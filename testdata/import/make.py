"""Writes one small network as PyTorch, SciPy and ONNX save it: `python make.py` in this folder.

The network has a convolution, batch norm and a linear layer. Element i of the t-th tensor of the state dict is
((7t + 5i) mod 11 - 5) / 8. `num_batches_tracked` is 7.
"""

import argparse
import json
import pathlib

import numpy as np
import onnx
import scipy.sparse as sp
import torch
import torch.nn.utils.parametrize as parametrize
import torch.nn.utils.prune as prune
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 2, bias=False)
        self.bn = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(self.bn(self.conv(x)).mean((2, 3)))


def filled():
    net = Net()
    with torch.no_grad():
        for t, (name, value) in enumerate(net.state_dict().items()):
            if name.endswith("tracked"):
                value.fill_(7)
            else:
                i = torch.arange(value.numel())
                value.copy_((((7 * t + 5 * i) % 11 - 5) / 8).reshape(value.shape))
    return net


def torch_files(out):
    out.mkdir(exist_ok=True)
    net = filled()
    state = net.state_dict()

    def save(content, name, **kwargs):
        torch.save(content, out / name, **kwargs)

    def each(change, of=state):
        return {name: change(name, value) for name, value in of.items()}

    save(state, "plain.pt")
    for protocol in (3, 4, 5):
        save(state, f"protocol{protocol}.pt", pickle_protocol=protocol)
    save(state, "legacy.pth", _use_new_zipfile_serialization=False)
    save(each(lambda _, v: nn.Parameter(v) if v.is_floating_point() else v), "parameters.pt")

    # State dicts under other names and in wrappers.
    parallel = {"module." + name: value for name, value in state.items()}
    compiled = {"_orig_mod." + name: value for name, value in state.items()}
    trained = filled()
    sgd = torch.optim.SGD(trained.parameters(), 0.1, momentum=0.9)
    trained(torch.ones(2, 2, 3, 3)).sum().backward()
    sgd.step()
    save(
        {"epoch": 90, "arch": "net", "state_dict": parallel, "best_acc1": torch.tensor(76.1), "optimizer": sgd.state_dict()},
        "imagenet.pth.tar",
    )
    save({"state_dict": parallel, "best_prec1": 91.7}, "legacy.th", _use_new_zipfile_serialization=False)
    save({"rng_state": torch.get_rng_state()[:16].clone(), "model_state_dict": state}, "rng_state.pt")
    save({"net": state, "args": argparse.Namespace(device=torch.device("cpu"), dtype=torch.float32)}, "net.pth")
    save({"module." + name: value for name, value in compiled.items()}, "ddp_compiled.pt")
    save({"_orig_mod." + name: value for name, value in parallel.items()}, "compiled_ddp.pt")
    save({"state_dict": {"model." + n: v for n, v in state.items()}, "global_step": 5}, "lightning.ckpt")
    save({"mine": state, "losses": np.array([1.0, 2.0]), "best": np.float64(0.5)}, "numpy_beside.pkl")
    save({"best": state, "state_dict": state}, "twice")

    # Other layouts, storages and types of tensors.
    save(each(lambda _, v: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v), "channels_last.pt")
    save(each(lambda _, v: v.t().contiguous().t() if v.dim() == 2 else v), "transposed.pt")
    flat, views, at = torch.cat([v.flatten() for v in state.values() if v.is_floating_point()]), {}, 0
    for name, value in state.items():
        views[name] = value
        if value.is_floating_point():
            views[name] = flat[at : at + value.numel()].view(value.shape)
            at += value.numel()
    save(views, "views.pt")
    save(views, "legacy_views.pt", _use_new_zipfile_serialization=False)
    double = each(lambda name, v: v.double() if v.is_floating_point() else v.int().reshape(1))
    save(double, "double.pt")
    save(each(lambda _, v: v.half() if v.is_floating_point() else v.float()), "half.pt")
    save(each(lambda _, v: v.bfloat16() if v.is_floating_point() else v), "bfloat16.pt")
    torch.serialization.set_crc32_options(False)
    save(state, "no_checksums.pt")
    torch.serialization.set_crc32_options(True)
    pruned = filled()
    for module in (pruned.conv, pruned.linear):
        prune.custom_from_mask(module, "weight", module.weight != 0)
        with torch.no_grad():
            module.weight_orig[module.weight_mask == 0] = 7.0
    save(pruned.state_dict(), "pruned.pt")
    save_file({n: v.contiguous() for n, v in pruned.state_dict().items()}, out / "pruned.safetensors")
    expanded = dict(state, **{"bn.bias": torch.tensor([0.25]).expand(3)})
    save(expanded, "expanded.pt")

    # Files that cannot be read.
    save({"model": net}, "whole.pt")
    save([value for value in state.values()], "list.pt")
    save({"student": state, "teacher": state.copy()}, "several.pt")
    traced = torch.jit.trace(net.eval(), torch.zeros(1, 2, 2, 2))
    torch.jit.save(traced, out / "script.pt")
    reparametrized = filled()
    parametrize.register_parametrization(reparametrized.conv, "weight", nn.Identity())
    save(reparametrized.state_dict(), "parametrized.pt")
    linear = lambda change: each(lambda name, v: change(v) if name == "linear.weight" else v)
    save(linear(lambda v: v.to_sparse()), "sparse.pt")
    save(linear(lambda v: (v * 8).to(torch.int8)), "codes.pt")
    save(linear(lambda v: v.to(torch.float8_e4m3fn)), "float8.pt")
    save(linear(lambda v: torch.quantize_per_tensor(v, 0.125, 0, torch.qint8)), "quantized.pt")
    save(linear(lambda v: v.numpy()), "numpy.pt")
    save(linear(lambda v: v.to(torch.complex64)), "complex.pt")
    save({**state, "mask": torch.ones(3, dtype=torch.bool)}, "extra_bool.pt")


def sparse_rows(weight):
    """A matrix with unsorted rows and duplicate entries: each value is stored as two halves at the same place."""
    matrix = sp.coo_matrix(weight.reshape(weight.shape[0], -1))
    rows = np.r_[matrix.row, matrix.row]
    order = np.argsort(rows, kind="stable")[::-1]
    order = order[np.argsort(rows[order], kind="stable")]
    values = np.r_[matrix.data, matrix.data] / 2
    starts = np.r_[0, np.cumsum(np.bincount(rows, minlength=matrix.shape[0]))]
    columns = np.r_[matrix.col, matrix.col]
    made = sp.csr_matrix((values[order], columns[order].astype(np.int64), starts), matrix.shape)
    assert not made.has_canonical_format and (made.toarray() == matrix.toarray()).all()
    return made


def sparse_files(out):
    state = {name: value.numpy() for name, value in filled().state_dict().items()}
    weights = [name for name, value in state.items() if value.ndim > 1]
    shapes = json.dumps({name: {"shape": state[name].shape, "kind": "layer"} for name in weights})
    rest = {name: torch.tensor(value) for name, value in state.items() if name not in weights}
    (out / "rows.npz.d").mkdir(exist_ok=True)
    save_file(rest, out / "rows.npz.d/rest.safetensors", {"kind": "taper-npz-1", "npz": shapes})
    rows = dict(rest)
    for name in weights:
        matrix = sparse_rows(state[name])
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
        sp.save_npz(out / f"rows.npz.d/{name}.npz", matrix)
        rows[name + ".values"] = torch.tensor(matrix.data)
        rows[name + ".indices"] = torch.tensor(matrix.indices)
        rows[name + ".indptr"] = torch.tensor(matrix.indptr)
    save_file(rows, out / "rows.safetensors", {"kind": "taper-csr-1", "csr": shapes})


def onnx_files(out):
    out.mkdir(exist_ok=True)
    state = {name: value.numpy() for name, value in filled().state_dict().items()}

    def model(tensor, sparse=()):
        tensors = [tensor(value, name) for name, value in state.items() if name not in {s.values.name for s in sparse}]
        graph = helper.make_graph([], "net", [], [], tensors, sparse_initializer=list(sparse))
        return helper.make_model(graph)

    def half(value, name):
        if value.dtype != np.float32:
            return numpy_helper.from_array(value, name)
        bits = value.astype(np.float16).view(np.uint16).flatten().astype(np.int32)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=value.shape)
        tensor.int32_data.extend(bits.tolist())
        return tensor

    def double(value, name):
        return numpy_helper.from_array(value.astype(np.float64 if value.dtype == np.float32 else value.dtype), name)

    def coordinates(name):
        value = state[name]
        places = np.stack(np.nonzero(value), 1).astype(np.int64)
        values = numpy_helper.from_array(value[value != 0], name)
        return helper.make_sparse_tensor(values, numpy_helper.from_array(places, ""), value.shape)

    onnx.save(model(half), out / "half_int32.onnx")
    onnx.save(model(double), out / "double.onnx")
    onnx.save(model(numpy_helper.from_array, [coordinates("conv.weight")]), out / "coordinates.onnx")
    (out / "external.data").unlink(missing_ok=True)
    onnx.save(
        model(numpy_helper.from_array),
        out / "external.onnx",
        save_as_external_data=True,
        location="external.data",
        size_threshold=0,
    )
    codes = model(lambda v, n: numpy_helper.from_array((v * 8).astype(np.int8) if n == "linear.weight" else v, n))
    onnx.save(codes, out / "codes.onnx")


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent
    torch_files(here / "torch")
    sparse_files(here)
    onnx_files(here / "onnx")
    for path in here.rglob("*.*"):
        if path.is_file():
            path.chmod(0o644)
