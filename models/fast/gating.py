"""The three gated maps of a block's attention half as one operation: every map is read once, forward and backward.

`gated(value, y, gate, channel, pixel)` equals torch.cat([value * gate, channel * y, pixel * y], dim=1). On CUDA, where
Triton's kernels have shown that they work (trial.py), one writes the result side by side and one makes all gradients;
the gates' sums over the pixels are added in fixed order. Elsewhere plain operations do the same.
"""

import torch
from torch import Tensor

from .trial import Fused


def gated(value, y, gate, channel, pixel):
    """value, y: B x C x H x W; gate, channel: B x C x 1 x 1; pixel: B x 1 x H x W; all of one type.

    Returns B x 3C x H x W, channels_last. Differentiable once, in every argument.
    """
    return (gated_forward if y.is_cuda else plain_forward)(value, y, gate, channel, pixel)


@torch.library.custom_op("mixcldehaze::gated_forward", mutates_args=())
def gated_forward(value: Tensor, y: Tensor, gate: Tensor, channel: Tensor, pixel: Tensor) -> Tensor:
    return FUSED_FORWARD(*map(_channels_last, (value, y, gate, channel, pixel)))


@gated_forward.register_fake
def _(value, y, gate, channel, pixel):
    batch, channels, height, width = y.shape
    return y.new_empty(batch, height, width, 3 * channels).permute(0, 3, 1, 2)


@torch.library.custom_op("mixcldehaze::gated_backward", mutates_args=())
def gated_backward(
    grad: Tensor, value: Tensor, y: Tensor, gate: Tensor, channel: Tensor, pixel: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the five arguments."""
    return FUSED_BACKWARD(*map(_channels_last, (grad, value, y, gate, channel, pixel)))


@gated_backward.register_fake
def _(grad, *arguments):
    return tuple(torch.empty_like(x, memory_format=torch.channels_last) for x in arguments)


def _channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


gated_forward.register_autograd(
    lambda ctx, grad: gated_backward(grad, *ctx.saved_tensors), setup_context=_setup_context
)


# ---- plain operations ----


def plain_forward(value, y, gate, channel, pixel):
    return torch.cat([value * gate, channel * y, pixel * y], dim=1)


def plain_backward(grad, value, y, gate, channel, pixel):
    grad_value, grad_channel, grad_pixel = grad.chunk(3, dim=1)
    return (
        _channels_last(grad_value * gate),
        _channels_last(grad_channel * channel + grad_pixel * pixel),
        (grad_value * value).sum((2, 3), keepdim=True),
        (grad_channel * y).sum((2, 3), keepdim=True),
        (grad_pixel * y).sum(1, keepdim=True),
    )


# ---- fused, where Triton's kernels have shown that they work ----


def example(random, channels):
    """Arguments of the forward operation for a trial."""
    maps = [random(2, channels, 125, 131) for _ in range(2)]
    return *maps, random(2, channels, 1, 1), random(2, channels, 1, 1), random(2, 1, 125, 131)


def backward_example(random, channels):
    return random(2, channels, 125, 131), *example(random, channels // 3)


FUSED_FORWARD = Fused(plain_forward, "gating_triton", "forward", example)
FUSED_BACKWARD = Fused(plain_backward, "gating_triton", "backward", backward_example)
