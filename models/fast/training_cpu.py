"""The network of the training form on a CPU: its depthwise convolutions have a faster gradient.

The gradient for the image is a convolution of its own. oneDNN's takes up to 100 times as long where AVX-512 is missing.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..mixdehazenet import MixDehazeNet, MixStructureBlock


class Conv(nn.Conv2d):
    """Any convolution; a depthwise one of stride 1 that is padded by reflection has the faster gradient."""

    def forward(self, x):
        """x: B x C x H x W; returns the convolution's output."""
        depthwise = self.groups == self.in_channels == self.out_channels
        if not depthwise or self.stride != (1, 1) or self.padding_mode != "reflect":
            return super().forward(x)
        down, across = self.padding
        x = F.pad(x, (across, across, down, down), "reflect")
        return Depthwise.apply(x, self.weight, self.bias, self.dilation)


class Depthwise(torch.autograd.Function):
    """A depthwise convolution without padding."""

    @staticmethod
    def forward(ctx, x, weight, bias, dilation):
        ctx.save_for_backward(x, weight)
        ctx.options = (1, 1), (0, 0), dilation  # stride, padding, dilation
        return F.conv2d(x, weight, bias, *ctx.options, len(weight))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        down, across = (step * (side - 1) for step, side in zip(ctx.options[2], weight.shape[2:], strict=True))
        padded = F.pad(grad, (across, across, down, down))  # oneDNN is slow where it pads that much itself
        grad_x = F.conv2d(padded, weight.flip(2, 3), None, *ctx.options, len(weight))
        more = [len(weight)], *ctx.options, False, (0, 0), len(weight), (False, True, ctx.needs_input_grad[2])
        _, grad_weight, grad_bias = torch.ops.aten.convolution_backward(grad, x, weight, *more)
        return grad_x, grad_weight, grad_bias, None


class Block(MixStructureBlock):
    """A MixStructureBlock of faster convolutions."""

    conv = Conv


class CpuNetwork(MixDehazeNet):
    """A MixDehazeNet of such blocks: see `training_form`."""

    block = Block
