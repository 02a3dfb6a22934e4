"""1x1 convolutions of channels_last maps as matrix products: cuBLAS adds the bias and takes GELU within the product.

A convolution of cuDNN's adds the bias in a pass of its own over the map, and GELU is another. On CUDA products run
where they are no slower (trial.py); on a CPU they were slower.
"""

import torch
from torch.nn import functional as F

from .trial import Fused


def pointwise(x, weight, bias):
    """x: B x C x H x W, channels_last; weight: C' x C x 1 x 1; bias: C' or None. Returns B x C' x H x W."""
    return POINTWISE(x, [weight], bias)


def pointwise_gelu(x, weight, bias):
    """GELU of `pointwise`, of a bias, for inference. In bfloat16 on CUDA it may be tanh's: 5e-4 off, below rounding."""
    if x.dtype == torch.bfloat16:
        return POINTWISE_GELU(x, [weight], bias)
    return F.gelu(pointwise(x, weight, bias))


def add_pointwise(out, x, weight):
    """Add `pointwise` without a bias to a map, in place."""
    if out.is_contiguous(memory_format=torch.channels_last):
        ADD_POINTWISE(out, x, [weight])
    else:  # some rows of several images
        out += pointwise(x, weight, None)


def rows(x):
    """The pixels of a channels_last map as rows of a matrix: B x C x H x W to BHW x C, a view."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def as_map(y, x):
    """Rows of a matrix as a map of x's size: BHW x C' to B x C' x H x W, channels_last, a view."""
    batch, _, height, width = x.shape
    return y.view(batch, height, width, -1).permute(0, 3, 1, 2)


def convolution(x, weights, bias):
    return F.conv2d(x, weights[0].to(x.dtype), None if bias is None else bias.to(x.dtype))


def product(x, weights, bias):
    weight, bias = weights[0].flatten(1).to(x.dtype), None if bias is None else bias.to(x.dtype)
    return as_map(F.linear(rows(x), weight, bias), x)


def plain_gelu(x, weights, bias):
    return F.gelu(POINTWISE(x, weights, bias))


def product_gelu(x, weights, bias):
    return as_map(torch._addmm_activation(bias, rows(x), weights[0].flatten(1).t(), use_gelu=True), x)


def plain_add(out, x, weights):
    return out.add_(POINTWISE(x, weights, None))


def add_product(out, x, weights):
    rows(out).addmm_(rows(x), weights[0].flatten(1).t())
    return out


def example(random, channels):
    """Arguments for a trial."""
    return random(2, channels, 125, 131), [random(channels, channels, 1, 1, weight=True)], random(channels, weight=True)


def add_example(random, channels):
    x, weights, _ = example(random, channels)
    return random(*x.shape), x, weights


POINTWISE = Fused(convolution, "pointwise", "product", example)
POINTWISE_GELU = Fused(plain_gelu, "pointwise", "product_gelu", example)
ADD_POINTWISE = Fused(plain_add, "pointwise", "add_product", add_example)
