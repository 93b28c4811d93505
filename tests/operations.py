"""Runs ONNX files of random graphs in onnxruntime and compares with what their operations mean.

Usage: operations.py FOLDER
Beside each N.onnx of FOLDER lies an N.safetensors with `input` and the `output` that is expected. Prints one JSON object
with the largest difference of each, as a share of the largest value; a failure is an exception.
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
    # As the file says it.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ours = load_file(path.with_suffix(".safetensors"))
    (found,) = session.run(None, {"images": ours["input"]})
    expected = ours["output"]
    assert found.shape == expected.shape, (path.name, found.shape, expected.shape)
    return float(np.abs(found - expected).max(initial=0) / max(1e-30, np.abs(expected).max(initial=0)))


if __name__ == "__main__":
    print(json.dumps({path.stem: difference(path) for path in sorted(Path(sys.argv[1]).glob("*.onnx"))}))
