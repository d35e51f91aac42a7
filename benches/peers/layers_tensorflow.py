"""TensorFlow: one graph a network, channels last.

Weights of convolutions and dense layers are constants of the graph, as in a frozen model: oneDNN's kernels may lay them out once, and
bias and ReLU are fused into what is before them. The GRU is compiled by XLA, which takes less time than Keras' loop of ops on small
batches and as much on large ones; convolutions are not: XLA's of three axes are many times slower on a CPU.
"""
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from layers import random, weights


def use_threads(threads):
    # Ops one after the other, each on so many threads.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def padded(x, kernel, stride, padding):
    """The input and TensorFlow's name of the padding: its own where it is that, else zeros put round the input."""
    if not any(before or after for before, after in padding):
        return x, "VALID"
    spatial = list(zip(x.shape[1:-1], kernel, stride))
    total = [max((-(-size // s) - 1) * s + k - size, 0) for size, k, s in spatial]
    if [(t // 2, t - t // 2) for t in total] == [tuple(pair) for pair in padding]:
        return x, "SAME"
    return tf.pad(x, [(0, 0), *padding, (0, 0)]), "VALID"


class Layers:
    """Layers as ops of a graph."""

    name = "TensorFlow"
    maps = staticmethod(list)

    def __init__(self, shape, threads):
        use_threads(threads)
        self.shape, self.kept, self.at = shape, [], 0

    def conv(self, x, cin, cout, kernel, stride, padding, relu=True):
        w = tf.constant(weights(*kernel, cin, cout, fan_in=cin * tf.TensorShape(kernel).num_elements()))
        x, padding = padded(x, kernel, stride, padding)
        conv = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}[len(kernel)]
        y = conv(x, w, [1, *stride, 1], padding)
        return self.biased(y, cout, relu)

    def biased(self, x, channels, relu):
        y = tf.nn.bias_add(x, tf.constant(random(channels, scale=0.1)))
        return self.relu(y) if relu else y

    def deconv(self, x, channels):
        n, height, width, _ = x.shape
        w = tf.constant(weights(2, 2, channels, channels, fan_in=4 * channels))
        y = tf.nn.conv2d_transpose(x, w, [n, 2 * height, 2 * width, channels], 2, "VALID")
        return self.biased(y, channels, True)

    def dense(self, x, cin, cout, relu=True):
        rows = tf.reshape(x, [-1, cin])
        y = self.biased(tf.matmul(rows, tf.constant(weights(cin, cout, fan_in=cin))), cout, relu)
        return tf.reshape(y, [*x.shape[:-1], cout])

    def gru(self, x, features, units, bidirectional):
        # Variables are made once, however often the function is traced.
        if self.at == len(self.kept):
            layer = tf.keras.layers.GRU(units, return_sequences=True, reset_after=True)
            layer = tf.keras.layers.Bidirectional(layer) if bidirectional else layer
            layer.build([*x.shape[:-1], features])
            self.kept.append(tf.function(lambda x: layer(x), jit_compile=True))
        self.at += 1
        return self.kept[self.at - 1](x)

    def relu(self, x):
        return tf.nn.relu(x)

    def sigmoid(self, x):
        return tf.sigmoid(x)

    def softmax(self, x):
        return tf.nn.softmax(x)

    def add(self, a, b):
        return a + b

    def pool_time(self, x, window):
        return tf.nn.max_pool3d(x, [window, 1, 1], [window, 1, 1], "VALID")

    def upsample(self, x):
        return tf.image.resize(x, [2 * x.shape[1], 2 * x.shape[2]], "nearest")

    def every_second(self, x):
        return x[:, ::2, ::2]

    def channels_last(self, x, axes):
        return x

    def reshape(self, x, shape):
        return tf.reshape(x, [x.shape[i] if extent == 0 else extent for i, extent in enumerate(shape)])

    def concat(self, values, axis):
        return tf.concat(values, axis)

    def prepare(self, network):
        def graph(x):
            self.at = 0
            return network(self, x)

        function = tf.function(graph).get_concrete_function(tf.TensorSpec(self.shape))
        data = tf.constant(random(*self.shape))
        return lambda: function(data)
