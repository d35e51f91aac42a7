"""PyTorch: its functions, run eagerly, channels first."""
from layers import channels_first, random, weights


class Layers:
    """Layers as calls of PyTorch, run eagerly. The first run makes the weights, the next ones take them in order."""

    name = "PyTorch"
    maps = staticmethod(channels_first)

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

    def channels_last(self, x, axes):
        return x.permute(0, *range(2, axes), 1)

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
