#!/usr/bin/env python3
"""A training pass of the detector in float64 NumPy, written from the formulas, independent of the engine.

    python3 float64.py FOLDER CASE      for example: detector_small bnall

reads the set FOLDER and its case `train_CASE.safetensors`, takes ROIs and targets from there, and writes losses and gradients
of all weights to `FOLDER/float64_CASE.safetensors` (rounded to float32). It prints how far the reference is from them: the
reference computes in float32, and where all batch norms use the batch's statistics its rounding flips some ReLUs, which shows
in the gradients of everything below. Such a file lets a test tell the reference's rounding from an error.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

TYPES = {"F32": np.float32, "I32": np.int32, "U8": np.uint8, "I8": np.int8}


def read(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    array = lambda t: np.frombuffer(body[slice(*t["data_offsets"])], TYPES[t["dtype"]]).reshape(t["shape"])
    return {name: array(t) for name, t in header.items()}


def write(path, tensors, metadata):
    header, body = {"__metadata__": metadata}, b""
    for name in sorted(tensors):
        data = np.ascontiguousarray(tensors[name], np.float32)
        header[name] = {"dtype": "F32", "shape": list(data.shape), "data_offsets": [len(body), len(body) + data.nbytes]}
        body += data.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


class Node:
    """A value, its gradient so far, and what passes the gradient on."""

    tape = []

    def __init__(self, value, back=None):
        self.value, self.gradient = value, None
        if back:
            Node.tape.append((self, back))

    def receive(self, gradient):
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


class Network:
    def __init__(self, weights, batch_stem, batch_rest, epsilon):
        self.weights = {name: Node(value.astype(np.float64)) for name, value in weights.items()}
        self.batch_stem, self.batch_rest, self.epsilon = batch_stem, batch_rest, epsilon

    def conv(self, x, name, stride=None, valid=False):
        """Convolution over all axes but the first and last; TensorFlow's SAME padding or none."""
        w, b = self.weights[name + ".weight"], self.weights[name + ".bias"]
        kernel = w.value.shape[:-2]
        stride = stride or [1] * len(kernel)
        pads, sizes = [(0, 0)], []
        for n, k, s in zip(x.value.shape[1:-1], kernel, stride):
            out = (n - k) // s + 1 if valid else -(-n // s)
            total = 0 if valid else max((out - 1) * s + k - n, 0)
            pads.append((total // 2, total - total // 2))
            sizes.append(out)
        pads.append((0, 0))
        padded = np.pad(x.value, pads)
        window = lambda tap: (slice(None), *(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(tap, sizes, stride)))
        y = np.zeros((len(padded), *sizes, w.value.shape[-1]))
        for tap in np.ndindex(*kernel):
            y += padded[window(tap)] @ w.value[tap]

        def back(g):
            flat = g.reshape(-1, g.shape[-1])
            dx, dw = np.zeros_like(padded), np.zeros_like(w.value)
            for tap in np.ndindex(*kernel):
                dw[tap] = padded[window(tap)].reshape(-1, padded.shape[-1]).T @ flat
                dx[window(tap)] += g @ w.value[tap].T
            x.receive(dx[tuple(slice(p[0], p[0] + n) for p, n in zip(pads, x.value.shape))])
            w.receive(dw)
            b.receive(flat.sum(0))

        return Node(y + b.value, back)

    def norm(self, x, name):
        fields = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, var = (self.weights[f"{name}.{f}"] for f in fields)
        batch = self.batch_stem if name.startswith("stem.") else self.batch_rest
        axes = tuple(range(x.value.ndim - 1))
        mean, var = (x.value.mean(axes), x.value.var(axes)) if batch else (mean.value, var.value)
        scale = 1 / np.sqrt(var + self.epsilon)
        h = (x.value - mean) * scale

        def back(g):
            gamma.receive((g * h).sum(axes))
            beta.receive(g.sum(axes))
            centred = g - g.mean(axes) - h * (g * h).mean(axes) if batch else g
            x.receive(gamma.value * scale * centred)

        return Node(gamma.value * h + beta.value, back)

    def dense(self, x, name):
        w, b = self.weights[name + ".weight"], self.weights[name + ".bias"]

        def back(g):
            w.receive(x.value.T @ g)
            b.receive(g.sum(0))
            x.receive(g @ w.value.T)

        return Node(x.value @ w.value + b.value, back)

    def deconv(self, x, name):
        """Transposed convolution 2x2, stride 2, weights [2,2,out,in]."""
        w, b = self.weights[name + ".weight"], self.weights[name + ".bias"]
        n, h, v, _ = x.value.shape
        y = np.einsum("nijc,aboc->niajbo", x.value, w.value, optimize=True).reshape(n, 2 * h, 2 * v, -1)

        def back(g):
            b.receive(g.sum((0, 1, 2)))
            g = g.reshape(n, h, 2, v, 2, -1)
            w.receive(np.einsum("nijc,niajbo->aboc", x.value, g, optimize=True))
            x.receive(np.einsum("niajbo,aboc->nijc", g, w.value, optimize=True))

        return Node(y + b.value, back)


def relu(x):
    return Node(x.value * (x.value > 0), lambda g: x.receive(g * (x.value > 0)))


def add(a, b):
    return Node(a.value + b.value, lambda g: (a.receive(g), b.receive(g)))


def reshape(x, *shape):
    return Node(x.value.reshape(shape), lambda g: x.receive(g.reshape(x.value.shape)))


def pool_time(x, window):
    n, t, *rest = x.value.shape
    parts = x.value.reshape(n, t // window, window, *rest)
    y = parts.max(2)
    return Node(y, lambda g: x.receive(((parts == y[:, :, None]) * g[:, :, None]).reshape(x.value.shape)))


def upsample(x):
    n, h, w, c = x.value.shape
    return Node(x.value.repeat(2, 1).repeat(2, 2), lambda g: x.receive(g.reshape(n, h, 2, w, 2, c).sum((2, 4))))


def every_second(x):
    def back(g):
        wide = np.zeros_like(x.value)
        wide[:, ::2, ::2] = g
        x.receive(wide)

    return Node(x.value[:, ::2, ::2], back)


def concat(parts):
    ends = np.cumsum([0] + [p.value.shape[1] for p in parts])
    split = lambda g: [p.receive(g[:, a:b]) for p, a, b in zip(parts, ends, ends[1:])]
    return Node(np.concatenate([p.value for p in parts], 1), split)


def roi_align(x, rois, size):
    """One bilinear sample per cell; positions in float32, as they decide which samples fall off the edge."""
    n, h, w, _ = x.value.shape
    boxes, f = rois.reshape(-1, 4).astype(np.float32), np.float32

    def weights(low, high, length):
        step = (high - low) * f(length - 1) / f(size - 1)
        at = low[:, None] * f(length - 1) + np.arange(size, dtype=f) * step[:, None]
        inside = (at >= 0) & (at <= length - 1)
        share = (at - np.floor(at)).astype(np.float64)
        matrix, row = np.zeros((len(low), size, length)), np.arange(len(low))
        for k in range(size):
            for corner, weight in ((np.floor(at), 1 - share), (np.ceil(at), share)):
                column = np.clip(corner[:, k], 0, length - 1).astype(int)
                matrix[row, k, column] += np.where(inside[:, k], weight[:, k], 0)
        return matrix

    my, mx = weights(boxes[:, 0], boxes[:, 2], h), weights(boxes[:, 1], boxes[:, 3], w)
    image = np.repeat(np.arange(n), rois.shape[1])
    crop = lambda r: np.einsum("iy,jx,yxc->ijc", my[r], mx[r], x.value[image[r]], optimize=True)

    def back(g):
        dx = np.zeros_like(x.value)
        for r, i in enumerate(image):
            dx[i] += np.einsum("iy,jx,ijc->yxc", my[r], mx[r], g[r], optimize=True)
        x.receive(dx)

    return Node(np.stack([crop(r) for r in range(len(image))]), back)


def cross_entropy(logits, labels, chosen):
    """Mean over the chosen rows; the gradient goes to the logits."""
    e = np.exp(logits.value - logits.value.max(-1, keepdims=True))
    p, truth = e / e.sum(-1, keepdims=True), np.eye(2)[labels]
    logits.receive((p - truth) * chosen[..., None] / chosen.sum())
    return -np.log((p * truth).sum(-1))[chosen].mean()


def smooth_l1(x, target, chosen):
    d = x - target
    size = chosen.sum() * 4
    loss = np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5)[chosen].sum() / size
    return loss, np.clip(d, -1, 1) * chosen[..., None] / size


def train(folder, case):
    c = json.loads((folder / "config.json").read_text())
    t = read(folder / f"train_{case}.safetensors")
    statistics = {"frozen": (False, False), "bnstem": (True, False), "bnall": (True, True)}[case]
    net = Network(read(folder / "weights.safetensors"), *statistics, c["bn_epsilon"])
    y = Node(read(folder / "input.safetensors")["x_i8"].astype(np.float64)[..., None] / 32)
    for i, window in enumerate(c["stem_time_pool"], 1):
        y = net.conv(y, f"stem.conv{i}", c["stem_stride_thw"] if i == 1 else None)
        y = pool_time(relu(net.norm(y, f"stem.bn{i}")), window)
    images = len(y.value)
    y = reshape(y, images, *y.value.shape[2:])
    maps = []
    for stage, blocks in enumerate(c["resnet_blocks"], 2):
        for block in range(blocks):
            name = f"backbone.res{stage}.block{block}."
            stride = [2, 2] if block == 0 and stage > 2 else None
            z = relu(net.norm(net.conv(y, name + "conv1", stride), name + "bn1"))
            z = relu(net.norm(net.conv(z, name + "conv2"), name + "bn2"))
            z = net.norm(net.conv(z, name + "conv3"), name + "bn3")
            if block == 0:
                y = net.norm(net.conv(y, name + "shortcut.conv", stride), name + "shortcut.bn")
            y = relu(add(z, y))
        maps.append(y)
    pyramid, merged = [], None
    for level, fine in reversed(list(enumerate(maps, 2))):
        lateral = net.conv(fine, f"fpn.lateral{level}")
        merged = lateral if merged is None else add(lateral, upsample(merged))
        pyramid.insert(0, net.conv(merged, f"fpn.output{level}"))
    logits, deltas = [], []
    for level in pyramid + [every_second(pyramid[-1])]:
        shared = relu(net.conv(level, "rpn.conv"))
        logits.append(reshape(net.conv(shared, "rpn.class"), images, -1, 2))
        deltas.append(reshape(net.conv(shared, "rpn.bbox"), images, -1, 4))
    logits, deltas = concat(logits), concat(deltas)

    rois = t["rois"]
    # The level rule sends everything to the finest map, as long as the whole image is smaller than its constant says.
    assert round(4 + np.log2(np.sqrt(np.prod(c["image"])) / c["roi_level_canonical"])) <= 2
    y = relu(net.norm(net.conv(roi_align(pyramid[0], rois, c["pool_size"]), "box_head.fc1", valid=True), "box_head.bn1"))
    y = relu(net.norm(net.conv(y, "box_head.fc2"), "box_head.bn2"))
    y = reshape(y, rois.shape[0] * rois.shape[1], -1)
    classes, boxes = net.dense(y, "box_head.class"), net.dense(y, "box_head.bbox")
    y = roi_align(pyramid[0], rois, c["mask_pool_size"])
    for i in range(1, 5):
        y = relu(net.norm(net.conv(y, f"mask_head.conv{i}"), f"mask_head.bn{i}"))
    masks = net.conv(relu(net.deconv(y, "mask_head.deconv")), "mask_head.mask")

    loss = {}
    match = t["in.rpn_match"][..., 0]
    loss["rpn_class_loss"] = cross_entropy(logits, (match == 1).astype(int), match != 0)
    target = np.zeros_like(deltas.value)
    for image in range(images):
        target[image, match[image] == 1] = t["in.rpn_bbox"][image, : (match[image] == 1).sum()]
    loss["rpn_bbox_loss"], gradient = smooth_l1(deltas.value, target, match == 1)
    deltas.receive(gradient)
    ids = t["target_class_ids"].reshape(-1)
    loss["mrcnn_class_loss"] = cross_entropy(classes, ids, np.ones_like(ids, bool))
    both = boxes.value.reshape(-1, 2, 4)
    loss["mrcnn_bbox_loss"], gradient = smooth_l1(both[:, 1], t["target_bbox"].reshape(-1, 4), ids > 0)
    boxes.receive(np.stack([np.zeros_like(gradient), gradient], 1).reshape(boxes.value.shape))
    p = 1 / (1 + np.exp(-masks.value[..., 1]))
    target = t["target_mask"].reshape(p.shape).astype(np.float64)
    loss["mrcnn_mask_loss"] = -(target * np.log(p) + (1 - target) * np.log(1 - p))[ids > 0].mean()
    gradient = np.zeros_like(masks.value)
    gradient[..., 1] = (p - target) * (ids > 0)[:, None, None] / ((ids > 0).sum() * p[0].size)
    masks.receive(gradient)
    for node, back in reversed(Node.tape):
        if node.gradient is not None:
            back(node.gradient)

    loss["total"] = sum(loss.values())
    found = {f"loss.{name}": np.array([value]) for name, value in loss.items()}
    found |= {f"grad.{name}": node.gradient for name, node in net.weights.items() if node.gradient is not None}
    # A bias before a batch norm in training has no gradient but rounding.
    found = {name: value for name, value in found.items() if np.linalg.norm(value) > 1e-9}
    for name in loss:
        print(f"{name}: the reference is off by {abs(t['loss.' + name][0] / loss[name] - 1):.1e}")
    pairs = [(t[name].astype(np.float64) - g, g) for name, g in found.items() if name.startswith("grad.")]
    error, norm = (np.sqrt(sum((part**2).sum() for part in parts)) for parts in zip(*pairs))
    print(f"{len(pairs)} gradients: the reference is off by {error / norm:.1e} (relative L2, all together)")
    metadata = {"generator": "float64.py: float64 NumPy, rounded to float32", "case": f"train_{case}"}
    write(folder / f"float64_{case}.safetensors", found, metadata)


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2])
