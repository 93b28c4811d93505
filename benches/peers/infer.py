"""The peers of `cargo xtask bench infer`: onnxruntime and OpenVINO on the same ONNX file.

The first argument is the peer. Reads requests from standard input and writes a response to each to standard output; each
is one line of JSON.
"""
import importlib
import json
import sys
import time

import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None


class Onnxruntime:
    def __init__(self, module, path, threads, _shape):
        options = module.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = module.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def run(self, images):
        return self.session.run(None, {self.input: images})[0]


class Openvino:
    def __init__(self, module, path, threads, shape):
        core = module.Core()
        model = core.read_model(path)
        model.reshape(shape)
        # Without the precision hint, OpenVINO computes in bfloat16 on processors that support it.
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(self, images):
        return self.request.infer({0: images}, share_inputs=True, share_outputs=True)[0]


PEERS = {"onnxruntime": Onnxruntime, "openvino": Openvino}


class Session:
    def __init__(self, module, request):
        shape = [request["batch"], *request["image"]]
        images = np.fromfile(request["images"], np.float32, int(np.prod(shape)))
        self.images = images.reshape(shape)
        begun = time.perf_counter()
        self.peer = PEERS[sys.argv[1]](module, request["path"], request["threads"], shape)
        self.opening = time.perf_counter() - begun

    def times(self, n):
        took = []
        for _ in range(n):
            begun = time.perf_counter()
            self.peer.run(self.images)
            took.append(time.perf_counter() - begun)
        return took


def peak_memory():
    """Peak memory of this process in bytes; None where the system does not report it."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main():
    # OpenVINO would fork a telemetry process, which keeps running where the network does not respond.
    sys.modules["openvino_telemetry"] = None
    # Before any measurement: the import must not count as time or memory of a network.
    module = importlib.import_module(sys.argv[1])
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        what = request["do"]
        if what == "open":
            session = Session(module, request)
            answer = {"seconds": session.opening, "version": module.__version__}
        elif what == "run":
            answer = {"seconds": session.times(request["times"])}
        elif what == "results":
            answer = {"results": session.peer.run(session.images)[0].astype(float).tolist()}
        else:
            answer = {"bytes": peak_memory()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
