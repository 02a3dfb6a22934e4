"""Convolutions of the inference form: without padding, GELU in the same pass, and what is linear folded into them."""

import torch
from torch import nn

from .pointwise import add_pointwise, pointwise, pointwise_gelu


class Conv(nn.Conv2d):
    """A convolution that pads nothing, followed by GELU where `gelu` is set, which then is 1x1."""

    gelu = False

    def forward(self, x):
        if in_one_pass(x):
            activation = "gelu" if self.gelu else "none"
            steps = (0, 0), self.stride, self.dilation, self.groups
            return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *steps, activation, [], "none")
        if self.kernel_size == (1, 1):
            return (pointwise_gelu if self.gelu else pointwise)(x, self.weight, self.bias)
        return super().forward(x)

    def add_to(self, out, x):
        """Add a 1x1 convolution of x to a map, in place; where it can be, in the same pass."""
        if in_one_pass(x):
            steps = (0, 0), self.stride, self.dilation, self.groups
            end = "add", 1.0, None, [], None
            torch.ops.mkldnn._convolution_pointwise_(out, x, self.weight, self.bias, *steps, *end)
        elif self.bias is None:
            add_pointwise(out, x, self.weight)
        else:
            out += self(x)


def in_one_pass(x):
    """Whether oneDNN's convolution with GELU, torch.compile's own on CPUs, can be called for such a map."""
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available() or torch.compiler.is_compiling():
        return False
    if x.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return x.dtype == torch.float32


def mlp(layers, dtype):
    """1x1, GELU, 1x1."""
    first, _, second = layers
    return with_gelu(fixed(first, dtype), fixed(second, dtype))


def with_gelu(first, second):
    first.gelu = True
    return nn.Sequential(first, second)


# ---- folding, in float64 ----


def fixed(layer, dtype):
    """A convolution's copy that pads nothing."""
    return conv(layer.weight, layer.bias, dtype, layer.stride, layer.dilation, layer.groups)


def conv(weight, bias, dtype, stride=1, dilation=1, groups=1):
    """A convolution without padding, of given weights."""
    outputs, inputs, *kernel = weight.shape
    layer = Conv(inputs * groups, outputs, kernel, stride, 0, dilation, groups, bias is not None, dtype=torch.double)
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
    return layer.to(dtype=dtype, memory_format=torch.channels_last)


def affine(norm):
    """A BatchNorm's scale and shift in evaluation mode."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def fold_input(layer, scale, shift):
    """Weight and bias of a 1x1 convolution of scale * x + shift, as of x."""
    weight = layer.weight.double()
    return weight * scale[:, None, None], layer.bias.double() + weight[:, :, 0, 0] @ shift


def shifted_input(layer, shift, dtype):
    """A depthwise convolution's copy, of x + shift, as of x."""
    bias = layer.bias.double() + shift * layer.weight.double().sum((1, 2, 3))
    return conv(layer.weight, bias, dtype, layer.stride, layer.dilation, layer.groups)
