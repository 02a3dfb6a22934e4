"""The network of the training form: the same parameters, outputs and gradients to rounding, in less time.

For CUDA: this file imports Triton. Maps stay channels_last throughout. Biases that would be passes of their own over a
map go where they cost nothing: into the product, or into the operation that follows.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..mixdehazenet import MixDehazeNet, MixStructureBlock
from .folding import as_map, as_matrix
from .kernels.depthwise import depthwise, fits
from .kernels.gated import gated
from .kernels.gelu import gelu_mlp
from .kernels.pad import reflect_pad


class Conv(nn.Conv2d):
    """A convolution padded by reflection, or a 1x1 convolution as a product."""

    def forward(self, x):
        """x: B x C x H x W; returns the convolution's output, channels_last."""
        if self.padding_mode == "reflect":
            return unpadded(self, reflect_pad(x, self.padding[0]), self.weight, self.bias)
        return pointwise(x, self.weight, self.bias)


class Block(MixStructureBlock):
    """A MixStructureBlock of faster primitives; the block itself is written in mixdehazenet.py."""

    conv = Conv

    def dense(self, y):
        """The 1x1 and the 5x5 convolution as one 5x5, without its bias, which `depthwise` adds."""
        layer = self.local
        with torch.autocast("cuda", enabled=False):  # composing the weights costs nothing: full precision
            taps = layer.weight.permute(0, 2, 3, 1)  # in this order the gradient has the weight's own memory format
            weight = (taps.flatten(0, 2) @ self.pointwise.weight.flatten(1)).view(*taps.shape[:3], -1)
        return unpadded(layer, reflect_pad(y, layer.padding[0]), weight.permute(0, 3, 1, 2), None)

    def depthwise(self, y):
        layers = self.depthwise_layers()
        with torch.autocast("cuda", enabled=False):
            shift = self.local.bias + self.local.weight.sum((2, 3)) @ self.pointwise.bias  # the bias of `dense`
        if not fits(layers):
            return super().depthwise(y + shift[:, None, None].to(y.dtype))
        return depthwise(y, [layer.weight for layer in layers], [shifted_bias(layer, shift) for layer in layers])

    def gated(self, y, gate, channel, pixel):
        first, last = self.value
        value = reflect_pad(pointwise(y, first.weight, None), last.padding[0])
        return gated(unpadded(last, value, last.weight, None), shifted_bias(last, first.bias), y, gate, channel, pixel)

    def mlp(self, layers, y):
        first, activation, last = layers
        if type(activation) is not nn.GELU or activation.approximate != "none":
            return super().mlp(layers, y)
        weights = [value for layer in (first, last) for value in (layer.weight.flatten(1), layer.bias)]
        return as_map(gelu_mlp(as_matrix(y), *weights), y)


class TrainingNetwork(MixDehazeNet):
    """A MixDehazeNet of faster blocks: see `training_form`."""

    block, conv = Block, Conv
    graphs = False  # whether CUDA graphs of it have passed the proof

    def features(self, x):
        return super().features(x.contiguous(memory_format=torch.channels_last))


def unpadded(layer, x, weight, bias):
    """A layer's convolution of a map that is padded already."""
    return F.conv2d(x, weight, bias, layer.stride, 0, layer.dilation, layer.groups)


def shifted_bias(layer, shift):
    """The bias of a depthwise convolution of x + shift: a constant, C, passes through reflection unchanged."""
    return layer.bias + shift * layer.weight.sum((1, 2, 3))


def pointwise(x, weight, bias):
    """A 1x1 convolution, as a product with its bias in the same call; products with few outputs are slow."""
    if len(weight) < 8:
        return F.conv2d(x, weight, bias)
    return as_map(F.linear(as_matrix(x), weight.flatten(1), bias), x)
