"""Runs networks in onnxruntime. Each line of standard input is JSON: a network, images, and the file for the results.

Prints a line when the results are written.
"""

import json
import sys

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.log_severity_level = 3
options.intra_op_num_threads = 1
for line in sys.stdin:
    case = json.loads(line)
    images = np.fromfile(case["images"], "<f4").reshape(case["shape"])
    session = onnxruntime.InferenceSession(case["network"], options, providers=["CPUExecutionProvider"])
    [results] = session.run(None, {session.get_inputs()[0].name: images})
    results.astype("<f4").tofile(case["results"])
    print("done", flush=True)
