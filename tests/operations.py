"""Runs ONNX files of random graphs in onnxruntime and compares the outputs with those of Taper's interpreter.

Usage: operations.py FOLDER
Beside each N.onnx of FOLDER lies an N.safetensors with `input` and the expected `output`. Prints one JSON object: for
each file, the largest difference relative to the largest value. A failure is an exception.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file


def difference(path):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without optimization: the graph runs exactly as written in the file.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ours = load_file(path.with_suffix(".safetensors"))
    (found,) = session.run(None, {"images": ours["input"]})
    expected = ours["output"]
    assert found.shape == expected.shape, (path.name, found.shape, expected.shape)
    return float(np.abs(found - expected).max(initial=0) / max(1e-30, np.abs(expected).max(initial=0)))


if __name__ == "__main__":
    print(json.dumps({path.stem: difference(path) for path in sorted(Path(sys.argv[1]).glob("*.onnx"))}))
