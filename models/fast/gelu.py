"""GELU, then a 1x1 convolution, whose backward pass computes GELU's output again: of the widest two maps one is kept.

Both that the backward pass needs of the kept map, GELU's output and the gradient before GELU, are made in one pass by a
Triton kernel, where it has shown that it works (trial.py).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .pointwise import pointwise, rows
from .trial import Fused


class GeluPointwise(torch.autograd.Function):
    """apply(hidden, weight, bias): B x C x H x W, channels_last; C' x C x 1 x 1; C'. Returns B x C' x H x W."""

    @staticmethod
    def forward(ctx, hidden, weight, bias):
        hidden, weight = hidden.contiguous(memory_format=torch.channels_last), weight.to(hidden.dtype)
        ctx.save_for_backward(hidden, weight)
        return pointwise(F.gelu(hidden), weight, bias.to(hidden.dtype))

    @staticmethod
    def backward(ctx, grad):
        hidden, weight = ctx.saved_tensors
        batch, _, height, width = grad.shape
        grad = rows(grad)
        grad_hidden = (grad @ weight.flatten(1)).view(batch, height, width, -1).permute(0, 3, 1, 2)
        active = gelu_backward(hidden, grad_hidden)
        return grad_hidden, (grad.T @ rows(active)).view_as(weight), grad.sum(0)


@torch.library.custom_op("mixcldehaze::gelu_backward", mutates_args=("grad",))
def gelu_backward(x: Tensor, grad: Tensor) -> Tensor:
    """Returns gelu(x), and turns the gradient of gelu(x) into that of x, in place; maps of one shape, channels_last."""
    return FUSED_BACKWARD(x, grad)[0]


@gelu_backward.register_fake
def _(x, grad):
    return torch.empty_like(x)


def plain_backward(x, grad):
    return F.gelu(x), grad.copy_(torch.ops.aten.gelu_backward(grad, x))


def example(random, channels):
    """Arguments for a trial."""
    return random(2, channels, 125, 131), random(2, channels, 125, 131)


FUSED_BACKWARD = Fused(plain_backward, "gelu_triton", "backward", example)
