"""The same ops and networks in ONNX Runtime, PyTorch and TensorFlow: one line of JSON for each.

Every network is written once, against a small set of layers that exists for every program (`layers_*.py`). Layouts are those that
the programs prefer; batch norms are folded into the convolutions before them, for all alike. Inputs and weights are random.
"""
import argparse
import importlib
import json
import time


class Maps(list):
    """Extents [N, ..., C] of an input that each program gets in the layout it prefers; other inputs come as they are."""


def same(kernel):
    return [((k - 1) // 2, k // 2) for k in kernel]


def conv_alone(cin, cout, kernel, stride=None, padding=None):
    stride = stride or [1] * len(kernel)
    return lambda b, x: b.conv(x, cin, cout, kernel, stride, same(kernel) if padding is None else padding, relu=False)


def twitch(b, x):
    """Crops [N,400,16,16,1] to signals [N,400,1]."""
    x = b.conv(x, 1, 16, [15, 5, 5], [1, 2, 2], [(7, 7), (1, 2), (1, 2)])
    for _ in range(4):
        x = b.conv(x, 16, 16, [15, 3, 3], [1, 1, 1], [(7, 7), (1, 1), (1, 1)])
    x = b.reshape(b.channels_last(x, 5), [0, 400, 1024])
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
    """Recording [1,400,64,64,1] to the pyramid and the RPN's probabilities and deltas."""
    x = b.conv(x, 1, 8, [7, 7, 7], [5, 2, 2], [(1, 1), (2, 3), (2, 3)])
    for cin, cout, time_taps, pool in [(8, 16, 7, 5), (16, 32, 5, 4), (32, 64, 5, 4)]:
        x = b.conv(x, cin, cout, [time_taps, 3, 3], [1, 1, 1], same([time_taps, 3, 3]))
        x = b.pool_time(x, pool)
    x = b.reshape(x, b.maps([1, 32, 32, 64]))
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
            values.append(b.reshape(b.channels_last(z, 4), [1, -1, width]))
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
    "ops/conv_3x3_256_14x14_b100": (Maps([100, 14, 14, 256]), conv_alone(256, 256, [3, 3])),
    "ops/conv_15x3x3_16_400x8x8_b8": (Maps([8, 400, 8, 8, 16]), conv_alone(16, 16, [15, 3, 3])),
    "ops/conv_15x5x5_1to16_b8": (
        Maps([8, 400, 16, 16, 1]), conv_alone(1, 16, [15, 5, 5], [1, 2, 2], [(7, 7), (1, 2), (1, 2)])),
    "ops/conv_7x7x7_1to8_stem": (
        Maps([1, 400, 64, 64, 1]), conv_alone(1, 8, [7, 7, 7], [5, 2, 2], [(1, 1), (2, 3), (2, 3)])),
    "ops/conv_7x7_256to1024_b1000": (Maps([1000, 7, 7, 256]), conv_alone(256, 1024, [7, 7], padding=[(0, 0), (0, 0)])),
    "ops/conv_1x1_64to256_32x32": (Maps([1, 32, 32, 64]), conv_alone(64, 256, [1, 1])),
    "ops/conv_3x3_48_64x64": (Maps([1, 64, 64, 48]), conv_alone(48, 48, [3, 3])),
    "ops/conv_3x3_48_64x64_b8": (Maps([8, 64, 64, 48]), conv_alone(48, 48, [3, 3])),
    "ops/conv_9_48_400_b25": (Maps([25, 400, 48]), conv_alone(48, 48, [9])),
    "ops/gru_256to512_b1": ([1, 400, 256], gru(256, 512, False)),
    "ops/bigru_256to512_b1": ([1, 400, 256], gru(256, 512, True)),
    "ops/bigru_256to512_b32": ([32, 400, 256], gru(256, 512, True)),
    "ops/bigru_48_b70": ([70, 400, 48], gru(48, 48, True)),
    "networks/twitch_paper_b1": (Maps([1, 400, 16, 16, 1]), twitch),
    "networks/twitch_paper_b32": (Maps([32, 400, 16, 16, 1]), twitch),
    "networks/trunk_paper_b1": (Maps([1, 400, 64, 64, 1]), trunk),
    "networks/box_head_paper_1000": (Maps([1000, 7, 7, 256]), box_head),
    "networks/mask_head_paper_100": (Maps([100, 14, 14, 256]), mask_head),
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
    parser.add_argument("--peer", choices=["onnxruntime", "torch", "tensorflow"])
    parser.add_argument("--case", help="one case by its full name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    arguments = parser.parse_args()
    names = [name for name in CASES if arguments.case in (None, name)]
    if arguments.list:
        print("\n".join(names))
        return
    backend = importlib.import_module(f"layers_{arguments.peer or parser.error('--peer is missing')}").Layers
    for name in names:
        shape, network = CASES[name]
        shape = backend.maps(shape) if isinstance(shape, Maps) else shape
        run = backend(shape, arguments.threads).prepare(network)
        ms, cpu_ms = median_ms(run, arguments.seconds)
        print(json.dumps({"name": name, "peer": backend.name, "ms": ms, "cpu_ms": cpu_ms}), flush=True)


if __name__ == "__main__":
    main()
