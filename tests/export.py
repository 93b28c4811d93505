"""Reads files of `taper export` with the tools that they are made for, and compares them with the checkpoint.

Usage: export.py FOLDER
FOLDER holds pruned.safetensors, the files that were exported from it, and logits.safetensors with `input` and the
`logits` that taper computed. Prints one JSON object with the results for each file; a failure is an exception.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import scipy.sparse
from compressed_tensors import BitmaskConfig
from compressed_tensors.compressors import BitmaskCompressor
from safetensors.numpy import load_file


def error(found, expected):
    return float(np.abs(found - expected).max())


def same(found, expected):
    """Whether two arrays are bit-identical except for the sign of zero, which no sparse format stores."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return bool(((found == expected) & ((expected == 0) | (np.signbit(found) == np.signbit(expected)))).all())


def bitmask(path, state, weights):
    compressor = BitmaskCompressor(config=BitmaskConfig(format="sparse-bitmask"))
    found = {name: tensor.numpy() for name, tensor in compressor.decompress(str(path))}
    shaped = {name: found[name].reshape(state[name].shape) for name in weights}
    return all(same(shaped[name], state[name]) for name in weights)


def csr(path, state, weights):
    """Runs the code from the book."""
    page = (Path(__file__).parent.parent / "docs/src/formats.md").read_text()
    (lines,) = [block for block in page.split("```python\n")[1:] if "csr_matrix(" in block]
    lines = lines.split("```")[0].replace('"pruned.csr.safetensors"', repr(str(path)))
    found = {}
    # The code in the book ends in the body of a loop.
    exec(lines + "        found[name] = matrix\n", {"found": found})
    assert set(found) == set(weights)
    for matrix in found.values():
        matrix.check_format(full_check=True)
    return all(same(found[name].toarray().reshape(state[name].shape), state[name]) for name in weights)


def npz(path, state, weights):
    found = {name: scipy.sparse.load_npz(path / f"{name}.npz").toarray() for name in weights}
    return all(same(found[name].reshape(state[name].shape), state[name]) for name in weights)


def logits(path, images, expected):
    is_sparse = "sparse" in path.name
    # ONNX's shape inference does not support sparse initializers.
    onnx.checker.check_model(onnx.load(path), full_check=not is_sparse)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = {"onnxruntime": error(session.run(None, {"images": images})[0], expected)}
    if not is_sparse:
        core = openvino.Core()
        core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found["openvino"] = error(core.compile_model(path, "CPU")(images)[0], expected)
    return found


def main(folder):
    folder = Path(folder)
    state = load_file(folder / "pruned.safetensors")
    weights = [name for name, value in state.items() if value.ndim in (2, 4)]
    ours = load_file(folder / "logits.safetensors")
    found = {"max_abs_logit": float(np.abs(ours["logits"]).max())}
    for path in sorted(folder.iterdir()):
        read = {"bitmask": bitmask, "compact": bitmask, "csr": csr, "npz": npz}.get(path.name.split(".")[0])
        if read:
            found[path.name] = read(path, state, weights)
        elif path.suffix == ".onnx":
            found[path.name] = logits(path, ours["input"], ours["logits"])
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
