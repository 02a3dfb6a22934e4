"""1x1 convolutions of channels_last maps as matrix products: cuBLAS adds the bias within the product.

A convolution of cuDNN's adds it in a pass of its own over the map. On CUDA products run where they are no slower
(trial.py); on a CPU they were slower.
"""

from torch.nn import functional as F

from .trial import Fused


def pointwise(x, weight, bias):
    """x: B x C x H x W, channels_last; weight: C' x C x 1 x 1; bias: C' or None. Returns B x C' x H x W."""
    return POINTWISE(x, [weight], bias)


def rows(x):
    """The pixels of a channels_last map as rows of a matrix: B x C x H x W to BHW x C, a view."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def convolution(x, weights, bias):
    return F.conv2d(x, weights[0].to(x.dtype), None if bias is None else bias.to(x.dtype))


def product(x, weights, bias):
    weight, bias = weights[0].flatten(1).to(x.dtype), None if bias is None else bias.to(x.dtype)
    batch, _, height, width = x.shape
    return F.linear(rows(x), weight, bias).view(batch, height, width, -1).permute(0, 3, 1, 2)


def example(random, channels):
    """Arguments for a trial."""
    return random(2, channels, 125, 131), [random(channels, channels, 1, 1, weight=True)], random(channels, weight=True)


POINTWISE = Fused(convolution, "pointwise", "product", example)
