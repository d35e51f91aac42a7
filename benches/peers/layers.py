"""What the layers of all programs need: random values, layouts."""
import numpy as np

GENERATOR = np.random.default_rng(7)


def random(*shape, scale=1.0):
    return GENERATOR.uniform(-scale, scale, shape).astype(np.float32)


def weights(*shape, fan_in=None):
    """Weights whose outputs are about as large as their inputs; by default all axes but the first are summed over."""
    fan_in = fan_in or int(np.prod(shape[1:]))
    return random(*shape, scale=(3.0 / fan_in) ** 0.5)


def channels_first(shape):
    """Extents [N, C, ...] from [N, ..., C]."""
    return [shape[0], shape[-1], *shape[1:-1]]
