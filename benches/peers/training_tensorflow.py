"""Training steps in TensorFlow: one graph a step, channels last, nothing compiled by XLA.

XLA's convolutions of three axes are many times slower on a CPU; of a GRU alone it cannot compile the backward pass, and on 32 sequences its
forward pass takes as long as Keras'.
"""
import numpy as np
import tensorflow as tf

from layers_tensorflow import padded, use_threads

GENERATOR = np.random.default_rng(7)


def normal(*shape):
    return tf.constant(GENERATOR.standard_normal(shape).astype(np.float32))


class Module(tf.Module):
    """Makes variables."""

    def filter(self, *shape, fan_in):
        return tf.Variable(normal(*shape) * (2.0 / fan_in) ** 0.5)

    def vector(self, size, value=0.0, trainable=True):
        return tf.Variable(tf.fill([size], value), trainable=trainable)


class Layer(Module):
    """Convolution, batch norm, ReLU; padding given for each side of each axis."""

    def __init__(self, cin, cout, kernel, stride=1, padding=0, norm="frozen", relu=True):
        super().__init__()
        axes = len(kernel)
        self.kernel, self.stride = kernel, [stride] * axes if isinstance(stride, int) else list(stride)
        self.padding = padding or [(0, 0)] * axes
        self.weight, self.bias = self.filter(*kernel, cin, cout, fan_in=cin * int(np.prod(kernel))), self.vector(cout)
        self.norm, self.relu = norm, relu
        if norm:
            self.scale, self.offset = self.vector(cout, 1.0), self.vector(cout)
            self.mean, self.variance = self.vector(cout, 0.0, False), self.vector(cout, 1.0, False)

    def __call__(self, x):
        x, padding = padded(x, self.kernel, self.stride, self.padding)
        conv = {2: tf.nn.conv2d, 3: tf.nn.conv3d}[len(self.kernel)]
        x = tf.nn.bias_add(conv(x, self.weight, [1, *self.stride, 1], padding), self.bias)
        if self.norm:
            x = self.normalised(x)
        return tf.nn.relu(x) if self.relu else x

    def normalised(self, x):
        batch = self.norm == "batch"
        layout = "NHWC" if len(self.kernel) == 2 else "NDHWC"
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=self.scale, offset=self.offset, mean=[] if batch else self.mean,
            variance=[] if batch else self.variance, epsilon=1e-3, is_training=batch, data_format=layout)
        if batch:
            self.mean.assign_sub(0.01 * (self.mean - mean))
            self.variance.assign_sub(0.01 * (self.variance - variance))
        return y


class Dense(Module):
    def __init__(self, cin, cout, relu=False):
        super().__init__()
        self.weight, self.bias, self.relu = self.filter(cin, cout, fan_in=cin), self.vector(cout), relu

    def __call__(self, x):
        y = tf.nn.bias_add(tf.matmul(x, self.weight), self.bias)
        return tf.nn.relu(y) if self.relu else y


def same(kernel):
    return [((k - 1) // 2, k // 2) for k in kernel]


def chain(layers, x):
    for layer in layers:
        x = layer(x)
    return x


class Twitch(Module):
    def __init__(self):
        super().__init__()
        self.front = [Layer(1, 16, [15, 5, 5], (1, 2, 2), [(7, 7), (1, 2), (1, 2)], norm="batch")]
        self.front += [Layer(16, 16, [15, 3, 3], 1, same([15, 3, 3]), norm="batch") for _ in range(4)]
        dense = lambda widths: [Dense(a, b, True) for a, b in zip(widths, widths[1:])]
        self.features = dense([1024, 1024, 512, 256])
        self.gru = tf.keras.layers.Bidirectional(tf.keras.layers.GRU(512, return_sequences=True, reset_after=True))
        self.gru.build([32, 400, 256])
        self.head = dense([1024, 1024, 512]) + [Dense(512, 1)]

    def __call__(self, crops):
        n, frames = crops.shape[:2]
        x = chain(self.features, tf.reshape(chain(self.front, crops), [n * frames, 1024]))
        x = self.gru(tf.reshape(x, [n, frames, 256]))
        return tf.reshape(chain(self.head, tf.reshape(x, [n * frames, 1024])), [n, frames])

    def variables_of_step(self):
        return [*self.trainable_variables, *self.gru.trainable_variables]


def stepping(variables, optimizer, limit, loss):
    """A whole step as one graph, the global norm of the gradients clipped at a limit."""
    optimizer.build(variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = loss()
        gradients, _ = tf.clip_by_global_norm(tape.gradient(value, variables), limit)
        optimizer.apply_gradients(zip(gradients, variables))
        return value

    return step


def twitch():
    network = Twitch()
    crops, truth = normal(32, 400, 16, 16, 1), normal(32, 400)
    factor = 1 / tf.reduce_max(tf.abs(truth), 1, keepdims=True)

    def loss():
        return tf.reduce_mean((factor * network(crops) - factor * truth) ** 2)

    return stepping(network.variables_of_step(), tf.keras.optimizers.Adam(1e-4, epsilon=1e-7), 1.0, loss)


class Bottleneck(Module):
    def __init__(self, cin, widths, stride, shortcut):
        super().__init__()
        m1, m2, m3 = widths
        self.body = [Layer(cin, m1, [1, 1], stride), Layer(m1, m2, [3, 3], 1, same([3, 3])),
                     Layer(m2, m3, [1, 1], relu=False)]
        self.shortcut = Layer(cin, m3, [1, 1], stride, relu=False) if shortcut else tf.identity

    def __call__(self, x):
        return tf.nn.relu(chain(self.body, x) + self.shortcut(x))


class Detector(Module):
    def __init__(self):
        super().__init__()
        self.stem = [Layer(1, 8, [7, 7, 7], (5, 2, 2), [(1, 1), (2, 3), (2, 3)], norm="batch")]
        self.pools = [5, 4, 4]
        for cin, cout, taps in [(8, 16, 7), (16, 32, 5), (32, 64, 5)]:
            self.stem.append(Layer(cin, cout, [taps, 3, 3], 1, same([taps, 3, 3]), norm="batch"))
        self.stages, self.lateral, self.output = [], [], []
        plain = lambda cin, cout, k: Layer(cin, cout, [k, k], 1, same([k, k]), norm=None, relu=False)
        cin = 64
        for blocks, widths, stride in [(3, (64, 64, 256), 1), (4, (128, 128, 512), 2), (23, (256, 256, 1024), 2),
                                       (3, (512, 512, 2048), 2)]:
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(cin, widths, stride if block == 0 else 1, block == 0))
                cin = widths[2]
            self.stages.append(stage)
            self.lateral.append(plain(cin, 256, 1))
            self.output.append(plain(256, 256, 3))
        self.rpn = Layer(256, 512, [3, 3], 1, same([3, 3]), norm=None)
        self.rpn_class, self.rpn_box = plain(512, 6, 1), plain(512, 12, 1)
        self.box_head = [Layer(256, 1024, [7, 7]), Layer(1024, 1024, [1, 1])]
        self.classes, self.boxes = Dense(1024, 2), Dense(1024, 8)
        self.mask_head = [Layer(256, 256, [3, 3], 1, same([3, 3])) for _ in range(4)]
        self.up, self.up_bias = self.filter(2, 2, 256, 256, fan_in=256), self.vector(256)
        self.masks = plain(256, 2, 1)

    def __call__(self, recordings, rois, mask_rois):
        """Rois: for each level boxes as shares of the map, and which image each is of."""
        x = self.stem[0](recordings)
        for layer, pool in zip(self.stem[1:], self.pools):
            x = tf.nn.max_pool3d(layer(x), [pool, 1, 1], [pool, 1, 1], "VALID")
        x = x[:, 0]
        maps = []
        for stage in self.stages:
            x = chain(stage, x)
            maps.append(x)
        merged, pyramid = None, []
        for level in reversed(range(4)):
            lateral = self.lateral[level](maps[level])
            if merged is not None:
                lateral += tf.image.resize(merged, lateral.shape[1:3], "nearest")
            merged = lateral
            pyramid.insert(0, self.output[level](merged))
        scores, deltas = [], []
        for level in pyramid + [pyramid[-1][:, ::2, ::2]]:
            shared = self.rpn(level)
            scores.append(tf.reshape(self.rpn_class(shared), [len(level), -1, 2]))
            deltas.append(tf.reshape(self.rpn_box(shared), [len(level), -1, 4]))
        # One bilinear sample a cell of the crop, as PyTorch's RoiAlign of sampling_ratio 1.
        crop = lambda rois, size: tf.concat(
            [tf.image.crop_and_resize(map, *part, [size, size]) for map, part in zip(pyramid, rois)], 0)
        box = tf.reshape(chain(self.box_head, crop(rois, 7)), [-1, 1024])
        x = chain(self.mask_head, crop(mask_rois, 14))
        x = tf.nn.conv2d_transpose(x, self.up, [len(x), 28, 28, 256], 2, "VALID")
        masks = self.masks(tf.nn.relu(tf.nn.bias_add(x, self.up_bias)))
        return tf.concat(scores, 1), tf.concat(deltas, 1), self.classes(box), self.boxes(box), masks


def detector():
    batch, rois, positives, anchors = 8, 200, 66, 4092
    network = Detector()

    def boxes(count):
        levels = []
        for level, cells in enumerate([32, 16, 8, 4]):
            n = batch * (count // 4 + (level < count % 4))
            corner = GENERATOR.uniform(0, cells - 2, [n, 2])
            box = np.concatenate([corner, corner + GENERATOR.uniform(1, 2, [n, 2])], 1) / cells
            levels.append((tf.constant(box.astype(np.float32)), tf.constant(np.arange(n, dtype=np.int32) % batch)))
        return levels

    integers = lambda high, shape: tf.constant(GENERATOR.integers(0, high, shape).astype(np.int32))
    inputs = (normal(batch, 400, 64, 64, 1), boxes(rois), boxes(positives))
    labels, chosen = integers(2, [batch, 256]), integers(anchors, [batch, 256])
    classes = integers(2, [batch * rois])
    masks = tf.cast(integers(2, [batch * positives, 28, 28]), tf.float32)
    cross_entropy = lambda labels, logits: tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))

    def smooth_l1(x):
        size = tf.abs(x)
        return tf.reduce_mean(tf.where(size < 1, 0.5 * x * x, size - 0.5))

    def loss():
        scores, deltas, logits, refined, mask_logits = network(*inputs)
        picked = lambda values: tf.gather(values, chosen, axis=1, batch_dims=1)
        mask_losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=masks, logits=mask_logits[..., 1])
        return (cross_entropy(labels, picked(scores)) + smooth_l1(picked(deltas))
                + cross_entropy(classes, logits) + smooth_l1(refined[:, 4:]) + tf.reduce_mean(mask_losses))

    optimizer = tf.keras.optimizers.SGD(1e-4, momentum=0.9, weight_decay=1e-4)
    return stepping(list(network.trainable_variables), optimizer, 5.0, loss)
