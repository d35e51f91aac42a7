"""The same ops and networks in ONNX Runtime and PyTorch: one line of JSON for each.

Every network is written once, against a small set of layers that exists for both programs. Layouts are those that
the programs prefer (channels first); batch norms are folded into the convolutions before them, for all alike. Inputs
and weights are random.
"""
import argparse
import json
import time

import numpy as np

GENERATOR = np.random.default_rng(7)


def random(*shape, scale=1.0):
    return GENERATOR.uniform(-scale, scale, shape).astype(np.float32)


def weights(*shape):
    fan_in = int(np.prod(shape[1:]))
    return random(*shape, scale=(3.0 / fan_in) ** 0.5)


class Onnx:
    """Layers as nodes of an ONNX graph."""

    name = "ONNX Runtime"

    def __init__(self, shape, threads):
        self.nodes, self.constants, self.threads = [], [], threads
        self.shape, self.serial = shape, 0

    def new(self):
        self.serial += 1
        return f"v{self.serial}"

    def constant(self, array):
        from onnx import numpy_helper

        name = self.new()
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, *inputs, outputs=1, **attributes):
        from onnx import helper

        names = [self.new() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def conv(self, x, cin, cout, kernel, stride, padding, relu=True):
        w, b = weights(cout, cin, *kernel), random(cout, scale=0.1)
        pads = [before for before, _ in padding] + [after for _, after in padding]
        y = self.node("Conv", x, self.constant(w), self.constant(b), kernel_shape=kernel, strides=stride, pads=pads)
        return self.relu(y) if relu else y

    def deconv(self, x, channels):
        w, b = weights(channels, channels, 2, 2), random(channels, scale=0.1)
        return self.relu(self.node("ConvTranspose", x, self.constant(w), self.constant(b), strides=[2, 2]))

    def dense(self, x, cin, cout, relu=True):
        y = self.node("MatMul", x, self.constant(weights(cin, cout)))
        y = self.node("Add", y, self.constant(random(cout, scale=0.1)))
        return self.relu(y) if relu else y

    def gru(self, x, features, units, bidirectional):
        """[N,T,C] to [N,T,u] or [N,T,2u]."""
        d = 2 if bidirectional else 1
        x = self.transpose(x, [1, 0, 2])
        tensors = [weights(d, 3 * units, features), weights(d, 3 * units, units), random(d, 6 * units, scale=0.1)]
        direction = "bidirectional" if bidirectional else "forward"
        inputs = [self.constant(t) for t in tensors]
        y = self.node("GRU", x, *inputs, hidden_size=units, direction=direction, linear_before_reset=1)
        y = self.transpose(y, [2, 0, 1, 3])
        return self.reshape(y, [0, 0, d * units])

    def relu(self, x):
        return self.node("Relu", x)

    def sigmoid(self, x):
        return self.node("Sigmoid", x)

    def softmax(self, x):
        return self.node("Softmax", x, axis=-1)

    def add(self, a, b):
        return self.node("Add", a, b)

    def pool_time(self, x, window):
        return self.node("MaxPool", x, kernel_shape=[window, 1, 1], strides=[window, 1, 1])

    def upsample(self, x):
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")

    def every_second(self, x):
        return self.node("MaxPool", x, kernel_shape=[1, 1], strides=[2, 2])

    def transpose(self, x, order):
        return self.node("Transpose", x, perm=order)

    def reshape(self, x, shape):
        return self.node("Reshape", x, self.constant(np.array(shape, np.int64)))

    def concat(self, values, axis):
        return self.node("Concat", *values, axis=axis)

    def prepare(self, network):
        import onnxruntime as ort
        from onnx import TensorProto, helper

        outputs = network(self, "x")
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        infos = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None) for y in outputs]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        graph = helper.make_graph(self.nodes, "network", [x], infos, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        data = random(*self.shape)
        return lambda: session.run(None, {"x": data})


class Torch:
    """Layers as calls of PyTorch, run eagerly. The first run makes the weights, the next ones take them in order."""

    name = "PyTorch"

    def __init__(self, shape, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.shape, self.made, self.at = torch, shape, [], 0

    def keep(self, make):
        if self.at == len(self.made):
            self.made.append(make())
        self.at += 1
        return self.made[self.at - 1]

    def tensor(self, *shape):
        return self.torch.from_numpy(weights(*shape))

    def conv(self, x, cin, cout, kernel, stride, padding, relu=True):
        f = self.torch.nn.functional
        w, b = self.keep(lambda: (self.tensor(cout, cin, *kernel), self.torch.from_numpy(random(cout, scale=0.1))))
        symmetric = all(before == after for before, after in padding)
        if not symmetric:
            x = f.pad(x, [p for pair in reversed(padding) for p in pair])
        pad = [before for before, _ in padding] if symmetric else 0
        y = (f.conv1d, f.conv2d, f.conv3d)[len(kernel) - 1](x, w, b, stride, pad)
        return y.relu_() if relu else y

    def deconv(self, x, channels):
        w, b = self.keep(lambda: (self.tensor(channels, channels, 2, 2), self.tensor(channels, 1)[:, 0]))
        return self.torch.nn.functional.conv_transpose2d(x, w, b, 2).relu_()

    def dense(self, x, cin, cout, relu=True):
        w, b = self.keep(lambda: (self.tensor(cout, cin), self.tensor(cout, 1)[:, 0]))
        y = self.torch.nn.functional.linear(x, w, b)
        return y.relu_() if relu else y

    def gru(self, x, features, units, bidirectional):
        layer = self.keep(lambda: self.torch.nn.GRU(features, units, batch_first=True, bidirectional=bidirectional))
        return layer(x)[0]

    def relu(self, x):
        return x.relu()

    def sigmoid(self, x):
        return x.sigmoid()

    def softmax(self, x):
        return x.softmax(-1)

    def add(self, a, b):
        return a + b

    def pool_time(self, x, window):
        return self.torch.nn.functional.max_pool3d(x, (window, 1, 1))

    def upsample(self, x):
        return self.torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")

    def every_second(self, x):
        return x[:, :, ::2, ::2]

    def transpose(self, x, order):
        return x.permute(order)

    def reshape(self, x, shape):
        return x.reshape([x.shape[i] if extent == 0 else extent for i, extent in enumerate(shape)])

    def concat(self, values, axis):
        return self.torch.cat(values, axis)

    def prepare(self, network):
        data = self.torch.from_numpy(random(*self.shape))

        def run():
            self.at = 0
            with self.torch.inference_mode():
                return network(self, data)

        return run


def same(kernel):
    return [((k - 1) // 2, k // 2) for k in kernel]


def conv_alone(cin, cout, kernel, stride=None, padding=None):
    stride = stride or [1] * len(kernel)
    return lambda b, x: b.conv(x, cin, cout, kernel, stride, same(kernel) if padding is None else padding, relu=False)


def twitch(b, x):
    """Crops [N,1,400,16,16] to signals [N,400,1]."""
    x = b.conv(x, 1, 16, [15, 5, 5], [1, 2, 2], [(7, 7), (1, 2), (1, 2)])
    for _ in range(4):
        x = b.conv(x, 16, 16, [15, 3, 3], [1, 1, 1], [(7, 7), (1, 1), (1, 1)])
    x = b.reshape(b.transpose(x, [0, 2, 3, 4, 1]), [0, 400, 1024])
    for cin, cout in [(1024, 1024), (1024, 512), (512, 256)]:
        x = b.dense(x, cin, cout)
    x = b.gru(x, 256, 512, True)
    for cin, cout in [(1024, 1024), (1024, 512)]:
        x = b.dense(x, cin, cout)
    return b.dense(x, 512, 1, relu=False)


def bottleneck(b, x, cin, widths, stride, shortcut):
    m1, m2, m3 = widths
    one, none = [1, 1], [(0, 0), (0, 0)]
    y = b.conv(x, cin, m1, one, [stride, stride], none)
    y = b.conv(y, m1, m2, [3, 3], one, [(1, 1), (1, 1)])
    y = b.conv(y, m2, m3, one, one, none, relu=False)
    if shortcut:
        x = b.conv(x, cin, m3, one, [stride, stride], none, relu=False)
    return b.relu(b.add(y, x))


def trunk(b, x):
    """Recording [1,1,400,64,64] to the pyramid and the RPN's probabilities and deltas."""
    x = b.conv(x, 1, 8, [7, 7, 7], [5, 2, 2], [(1, 1), (2, 3), (2, 3)])
    for cin, cout, time_taps, pool in [(8, 16, 7, 5), (16, 32, 5, 4), (32, 64, 5, 4)]:
        x = b.conv(x, cin, cout, [time_taps, 3, 3], [1, 1, 1], same([time_taps, 3, 3]))
        x = b.pool_time(x, pool)
    x = b.reshape(x, [1, 64, 32, 32])
    maps, cin = [], 64
    for blocks, widths, stride in [(3, (64, 64, 256), 1), (4, (128, 128, 512), 2), (23, (256, 256, 1024), 2),
                                   (3, (512, 512, 2048), 2)]:
        for block in range(blocks):
            x = bottleneck(b, x, cin, widths, stride if block == 0 else 1, block == 0)
            cin = widths[2]
        maps.append((x, cin))
    one, none = [1, 1], [(0, 0), (0, 0)]
    merged = []
    for value, channels in reversed(maps):
        lateral = b.conv(value, channels, 256, one, one, none, relu=False)
        merged.append(b.add(b.upsample(merged[-1]), lateral) if merged else lateral)
    pyramid = [b.conv(m, 256, 256, [3, 3], one, same([3, 3]), relu=False) for m in reversed(merged)]
    scores, deltas = [], []
    # Weights differ from level to level here, where the network shares them: the work is the same.
    for level in pyramid + [b.every_second(pyramid[-1])]:
        y = b.conv(level, 256, 512, [3, 3], one, same([3, 3]))
        for values, width, out in [(scores, 2, 6), (deltas, 4, 12)]:
            z = b.conv(y, 512, out, one, one, none, relu=False)
            values.append(b.reshape(b.transpose(z, [0, 2, 3, 1]), [1, -1, width]))
    return [*pyramid, b.softmax(b.concat(scores, 1)), b.concat(deltas, 1)]


def box_head(b, x):
    y = b.conv(x, 256, 1024, [7, 7], [1, 1], [(0, 0), (0, 0)])
    y = b.conv(y, 1024, 1024, [1, 1], [1, 1], [(0, 0), (0, 0)])
    y = b.reshape(y, [1000, 1024])
    return [b.softmax(b.dense(y, 1024, 2, relu=False)), b.dense(y, 1024, 8, relu=False)]


def mask_head(b, x):
    for _ in range(4):
        x = b.conv(x, 256, 256, [3, 3], [1, 1], same([3, 3]))
    return b.sigmoid(b.conv(b.deconv(x, 256), 256, 2, [1, 1], [1, 1], [(0, 0), (0, 0)], relu=False))


def gru(features, units, bidirectional):
    return lambda b, x: b.gru(x, features, units, bidirectional)


# Names are those of our benches.
CASES = {
    "ops/conv_3x3_256_14x14_b100": ([100, 256, 14, 14], conv_alone(256, 256, [3, 3])),
    "ops/conv_15x3x3_16_400x8x8_b8": ([8, 16, 400, 8, 8], conv_alone(16, 16, [15, 3, 3])),
    "ops/conv_15x5x5_1to16_b8": (
        [8, 1, 400, 16, 16], conv_alone(1, 16, [15, 5, 5], [1, 2, 2], [(7, 7), (1, 2), (1, 2)])),
    "ops/conv_7x7x7_1to8_stem": (
        [1, 1, 400, 64, 64], conv_alone(1, 8, [7, 7, 7], [5, 2, 2], [(1, 1), (2, 3), (2, 3)])),
    "ops/conv_7x7_256to1024_b1000": ([1000, 256, 7, 7], conv_alone(256, 1024, [7, 7], padding=[(0, 0), (0, 0)])),
    "ops/conv_1x1_64to256_32x32": ([1, 64, 32, 32], conv_alone(64, 256, [1, 1])),
    "ops/conv_3x3_48_64x64": ([1, 48, 64, 64], conv_alone(48, 48, [3, 3])),
    "ops/conv_3x3_48_64x64_b8": ([8, 48, 64, 64], conv_alone(48, 48, [3, 3])),
    "ops/conv_9_48_400_b25": ([25, 48, 400], conv_alone(48, 48, [9])),
    "ops/gru_256to512_b1": ([1, 400, 256], gru(256, 512, False)),
    "ops/bigru_256to512_b1": ([1, 400, 256], gru(256, 512, True)),
    "ops/bigru_256to512_b32": ([32, 400, 256], gru(256, 512, True)),
    "ops/bigru_48_b70": ([70, 400, 48], gru(48, 48, True)),
    "networks/twitch_paper_b1": ([1, 1, 400, 16, 16], twitch),
    "networks/twitch_paper_b32": ([32, 1, 400, 16, 16], twitch),
    "networks/trunk_paper_b1": ([1, 1, 400, 64, 64], trunk),
    "networks/box_head_paper_1000": ([1000, 256, 7, 7], box_head),
    "networks/mask_head_paper_100": ([100, 256, 14, 14], mask_head),
}


def median_ms(run, seconds):
    """Of a run: on the clock, and of all threads together."""
    run()
    times, cpu, end = [], [], time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 100):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        run()
        times.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
    return [sorted(each)[len(each) // 2] * 1e3 for each in (times, cpu)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--peer", choices=["onnxruntime", "torch"])
    parser.add_argument("--case", help="one case by its full name")
    parser.add_argument("--filter", default="", help="part of a name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    arguments = parser.parse_args()
    names = [name for name in CASES if arguments.filter in name and arguments.case in (None, name)]
    if arguments.list:
        print("\n".join(names))
        return
    backend = {"onnxruntime": Onnx, "torch": Torch}[arguments.peer or parser.error("--peer is missing")]
    for name in names:
        shape, network = CASES[name]
        run = backend(shape, arguments.threads).prepare(network)
        ms, cpu_ms = median_ms(run, arguments.seconds)
        print(json.dumps({"name": name, "peer": backend.name, "ms": ms, "cpu_ms": cpu_ms}), flush=True)


if __name__ == "__main__":
    main()
