"""The network of the training form on a CPU: its depthwise convolutions have a faster gradient.

The gradient for the image is a convolution of its own. oneDNN's takes up to 100 times as long where AVX-512 is missing.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..mixdehazenet import MixDehazeNet, MixStructureBlock


class Conv(nn.Conv2d):
    """A convolution padded by reflection, or a 1x1 convolution."""

    def forward(self, x):
        """x: B x C x H x W; returns the convolution's output."""
        if self.groups == 1:
            return super().forward(x)
        return Depthwise.apply(F.pad(x, 2 * self.padding, self.padding_mode), self.weight, self.bias, self.dilation)


class Depthwise(torch.autograd.Function):
    """A depthwise convolution without padding, with the same dilation along both sides."""

    @staticmethod
    def forward(ctx, x, weight, bias, dilation):
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return F.conv2d(x, weight, bias, dilation=dilation, groups=len(weight))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        margin = ctx.dilation[0] * (weight.shape[2] - 1)
        padded = F.pad(grad, [margin] * 4)  # oneDNN is slow where it pads that much itself
        grad_x = F.conv2d(padded, weight.flip(2, 3), dilation=ctx.dilation, groups=len(weight))
        options = [len(weight)], (1, 1), (0, 0), ctx.dilation, False, (0, 0), len(weight), (False, True, True)
        _, grad_weight, grad_bias = torch.ops.aten.convolution_backward(grad, x, weight, *options)
        return grad_x, grad_weight, grad_bias, None


class Block(MixStructureBlock):
    """A MixStructureBlock of faster convolutions."""

    conv = Conv


class CpuNetwork(MixDehazeNet):
    """A MixDehazeNet of such blocks: see `training_form`."""

    block = Block
