"""Convolutions of the inference form: they pad nothing, end in GELU or add to a map, and have what is linear folded in.

On a CPU, oneDNN takes GELU and the addition within the convolution (torch.compile's own calls). On CUDA a 1x1
convolution of channels_last maps is a matrix product with its bias in the same call, while cuDNN adds a bias in a pass
of its own. In float32 cuDNN has fast kernels for NCHW alone unless TF32 is allowed.
"""

import torch
from torch import nn
from torch.nn import functional as F

from . import kernels

FEWEST = 8  # outputs of a 1x1 convolution that is computed as a matrix product: smaller ones have slow kernels


class Conv(nn.Conv2d):
    """A convolution without padding, followed by GELU if `gelu` is set. Takes and returns channels_last maps."""

    gelu = False
    nchw = False  # whether to compute in that layout

    def forward(self, x):
        """x: B x C x H x W, any float type, which the weights have, too."""
        if in_one_pass(x):
            activation = "gelu" if self.gelu else "none"
            steps = (0, 0), self.stride, self.dilation, self.groups
            return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *steps, activation, [], "none")
        if self.is_product(x):
            y = as_map(F.linear(as_matrix(x), self.weight.flatten(1), self.bias), x)
        else:
            y = kernels.channels_last(super().forward(x.contiguous() if self.nchw else x))
        return F.gelu(y) if self.gelu else y

    def add_to(self, out, x):
        """Add a 1x1 convolution of x, without bias, to a map, in place."""
        if in_one_pass(x):
            steps = (0, 0), self.stride, self.dilation, self.groups
            torch.ops.mkldnn._convolution_pointwise_(out, x, self.weight, None, *steps, "add", 1.0, None, [], None)
        elif self.is_product(x) and out.is_contiguous(memory_format=torch.channels_last):
            as_matrix(out).addmm_(as_matrix(x), self.weight.flatten(1).t())
        else:  # a band of several images has gaps
            out += self(x)

    def is_product(self, x):
        return kernels.run_on(x) and self.kernel_size == (1, 1) and self.out_channels >= FEWEST


def in_one_pass(x):
    """Whether oneDNN's convolution with GELU or an addition can be called for a map."""
    if kernels.run_on(x) or not torch.backends.mkldnn.is_available():
        return False
    return x.dtype == torch.float32 or x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def as_matrix(x):
    """The pixels of a channels_last map as rows of a matrix: B x C x H x W to BHW x C, a view."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def as_map(y, x):
    """Rows of a matrix as a map of x's size: BHW x C' to B x C' x H x W, channels_last, a view."""
    batch, _, height, width = x.shape
    return y.view(batch, height, width, -1).permute(0, 3, 1, 2)


# ---- folding, in float64 ----


def fixed(layer, dtype, shift=None, scale=None):
    """A copy of a convolution that pads nothing; with shift and scale, one of scale * x + shift, as a function of x."""
    weight, bias = layer.weight.double(), layer.bias if shift is None else of_constant(layer, shift)
    weight = weight if scale is None else weight * scale[:, None, None]
    return conv(weight, bias, dtype, layer.stride, layer.dilation, layer.groups)


def conv(weight, bias, dtype, stride=1, dilation=1, groups=1):
    """A convolution without padding, of given weights."""
    outputs, inputs, *kernel = weight.shape
    layer = Conv(inputs * groups, outputs, kernel, stride, 0, dilation, groups, bias is not None)
    layer.weight, layer.bias = nn.Parameter(weight), None if bias is None else nn.Parameter(bias.double())
    layer.nchw = weight.is_cuda and dtype == torch.float32 and groups == 1 and layer.kernel_size != (1, 1)
    return layer.to(dtype=dtype, memory_format=torch.contiguous_format if layer.nchw else torch.channels_last)


def mlp(layers, dtype, shift=None, scale=None, last_bias=True):
    """A copy of 1x1, GELU, 1x1, as `fixed` does."""
    first, _, last = layers
    first = fixed(first, dtype, shift, scale)
    first.gelu = True
    return nn.Sequential(first, fixed(last, dtype) if last_bias else conv(last.weight, None, dtype))


def affine(norm):
    """A BatchNorm's scale and shift in evaluation mode."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def of_constant(layer, value):
    """What a convolution makes of a constant map, C numbers; reflect padding leaves such a map constant."""
    kernel = value.view(1, -1, 1, 1).expand(1, -1, *layer.kernel_size)
    return F.conv2d(kernel, layer.weight.double(), layer.bias.double(), groups=layer.groups).flatten()
