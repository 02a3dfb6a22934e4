"""The network of the training form: the same parameters, outputs and gradients to rounding, in less time.

For CUDA: this file imports Triton. Maps stay channels_last throughout. Biases that would be passes of their own over a
map go where they cost nothing: into the product, or into the operation that follows.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..mixdehazenet import MixDehazeNet, MixStructureBlock
from .folding import FEWEST, as_map, as_matrix
from .kernels.depthwise import depthwise, fits
from .kernels.gated import gated
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
        value = unpadded(last, reflect_pad(pointwise(y, first.weight, None), last.padding[0]), last.weight, None)
        return gated(value, shifted_bias(last, first.bias), y, gate, channel, pixel)

    def mlp(self, layers, y):
        first, _, last = layers
        weights = [value for layer in (first, last) for value in (layer.weight.flatten(1), layer.bias)]
        return as_map(GeluMlp.apply(as_matrix(y), *weights), y)


class TrainingNetwork(MixDehazeNet):
    """A MixDehazeNet of faster blocks: see `training_form`."""

    block, conv = Block, Conv


class GeluMlp(torch.autograd.Function):
    """1x1, GELU, 1x1 as products, N x C to N x C''. Of the two widest maps one is kept: GELU is computed again."""

    @staticmethod
    def forward(ctx, x, *layers):
        weight1, bias1, weight2, bias2 = (tensor.to(x.dtype) for tensor in layers)
        hidden = F.linear(x, weight1, bias1)
        ctx.save_for_backward(x, weight1, hidden, weight2)
        return F.linear(F.gelu(hidden), weight2, bias2)

    @staticmethod
    def backward(ctx, grad):
        x, weight1, hidden, weight2 = ctx.saved_tensors
        grad_weight2 = grad.t() @ F.gelu(hidden)
        grad_hidden = torch.ops.aten.gelu_backward(grad @ weight2, hidden)
        return grad_hidden @ weight1, grad_hidden.t() @ x, grad_hidden.sum(0), grad_weight2, grad.sum(0)


def unpadded(layer, x, weight, bias):
    """A layer's convolution of a map that is padded already."""
    return F.conv2d(x, weight, bias, layer.stride, 0, layer.dilation, layer.groups)


def shifted_bias(layer, shift):
    """The bias of a depthwise convolution of x + shift: a constant, C, passes through reflection unchanged."""
    return layer.bias + shift * layer.weight.sum((1, 2, 3))


def pointwise(x, weight, bias):
    """A 1x1 convolution, as a product with its bias in the same call."""
    if len(weight) < FEWEST:
        return F.conv2d(x, weight, bias)
    return as_map(F.linear(as_matrix(x), weight.flatten(1), bias), x)
