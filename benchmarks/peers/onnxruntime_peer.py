"""Workloads of tc_bench in ONNX Runtime, with models made here by the onnx package.

    onnxruntime_peer.py THREADS [FILTER]    a line per workload
    onnxruntime_peer.py --memory BATCH      peak resident memory of a process that serves ResNet-50
"""
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np


class Model:
    """An ONNX model in the making."""

    def __init__(self, shape):
        self.nodes, self.weights, self.count = [], [], 0
        self.random = np.random.default_rng(1)
        self.shape = shape

    def weight(self, *shape, scale=0.05, value=None):
        from onnx import numpy_helper
        name = f"w{len(self.weights)}"
        data = np.full(shape, value, np.float32) if value is not None else (
            self.random.standard_normal(shape, np.float32) * scale)
        self.weights.append(numpy_helper.from_array(data, name))
        return name

    def add(self, op, *inputs, **attributes):
        from onnx import helper
        self.count += 1
        self.nodes.append(helper.make_node(op, list(inputs), [f"v{self.count}"], **attributes))
        return f"v{self.count}"

    def save(self, path):
        import onnx
        from onnx import TensorProto, helper
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, path)


def chain(count):
    m, y = Model([4]), "x"
    for i in range(count):
        y = m.add("Relu", y) if i % 2 else m.add("Add", y, "x")
    return m


def small_mlp():
    m, y = Model([1, 4]), "x"
    for i, (inputs, units) in enumerate(((4, 8), (8, 8), (8, 2))):
        y = m.add("Gemm", y, m.weight(inputs, units), m.weight(units))
        y = m.add("Relu", y) if i < 2 else y
    return m


def resnet50(batch):
    m = Model([batch, 3, 224, 224])

    def convolve(x, inputs, filters, size, stride=1, relu=True):
        pad = size // 2
        x = m.add("Conv", x, m.weight(filters, inputs, size, size), strides=[stride] * 2, pads=[pad] * 4)
        x = m.add("BatchNormalization", x, m.weight(filters, value=1), m.weight(filters, value=0),
                  m.weight(filters, value=0), m.weight(filters, value=1))
        return m.add("Relu", x) if relu else x

    x, inputs = convolve("x", 3, 64, 7, 2), 64
    x = m.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage, depth in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(depth):
            stride = 2 if block == 0 and stage > 0 else 1
            shortcut = x if block else convolve(x, inputs, 4 * width, 1, stride, False)
            y = convolve(x, inputs, width, 1)
            y = convolve(y, width, width, 3, stride)
            y = convolve(y, width, 4 * width, 1, relu=False)
            x, inputs = m.add("Relu", m.add("Add", y, shortcut)), 4 * width
    x = m.add("Flatten", m.add("GlobalAveragePool", x))
    m.add("Gemm", x, m.weight(2048, 1000), m.weight(1000))
    return m


def open_session(path, threads):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort, ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def median_time(path, shape, threads, seconds=2.0):
    ort, session = open_session(path, threads)
    x = np.random.default_rng(2).standard_normal(shape, np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    y = session.run(None, {"x": x})[0]
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(np.empty_like(y)))
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2] * 1e6


def report(name, threads, us):
    import onnxruntime
    print(f"ONNX Runtime {onnxruntime.__version__}  {name:40} {threads} threads  median {us:12.3f} us", flush=True)


def memory(batch):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        # Another process makes the model, so that this one only serves it.
        subprocess.run([sys.executable, __file__, "--save", str(batch), path], check=True)
        _, session = open_session(path, 1)
        x = np.random.default_rng(2).standard_normal((batch, 3, 224, 224), np.float32)
        for _ in range(3):
            session.run(None, {"x": x})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"ONNX Runtime  ResNet-50 batch {batch} served  peak resident {peak:.1f} MB")


def main():
    if sys.argv[1] == "--save":
        resnet50(int(sys.argv[2])).save(sys.argv[3])
        return
    if sys.argv[1] == "--memory":
        memory(int(sys.argv[2]))
        return
    threads = int(sys.argv[1])
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    with tempfile.TemporaryDirectory() as folder:
        def measure(model):
            path = os.path.join(folder, "model.onnx")
            model.save(path)
            return median_time(path, model.shape, threads)
        if wanted in "chain of 100 ops on 4 floats, per op":
            # The difference of two lengths is free of what a call from Python takes.
            report("chain of 100 ops on 4 floats, per op", threads, (measure(chain(1100)) - measure(chain(100))) / 1000)
        if wanted in "MLP 4-8-8-2 inference":
            report("MLP 4-8-8-2 inference, called from Python", threads, measure(small_mlp()))
        for batch in (1, 8):
            if wanted in f"ResNet-50 batch {batch}":
                report(f"ResNet-50 batch {batch}", threads, measure(resnet50(batch)))


if __name__ == "__main__":
    main()
