"""Reflect padding as one operation with a backward pass of its own.

torch's own gives NCHW on CUDA, whatever it is given, and its backward pass adds with atomics, so it is not
deterministic. On CUDA a Triton kernel does it in one launch each way, where it has shown that it works (trial.py).
"""

import torch
from torch import Tensor

from .trial import Fused


def reflect_pad(x, padding):
    """Pad B x C x H x W on all sides by reflection; the result is channels_last on every device."""
    return pad(x, padding)


@torch.library.custom_op("mixcldehaze::reflect_pad", mutates_args=())
def pad(x: Tensor, padding: int) -> Tensor:
    return FUSED_PAD(x.contiguous(memory_format=torch.channels_last), padding)


@pad.register_fake
def _(x, padding):
    return _channels_last(x, padding)


@torch.library.custom_op("mixcldehaze::fold_reflection", mutates_args=())
def fold_reflection(grad: Tensor, padding: int) -> Tensor:
    """The gradient of `reflect_pad`."""
    return FUSED_FOLD(grad.contiguous(memory_format=torch.channels_last), padding)


@fold_reflection.register_fake
def _(grad, padding):
    return _channels_last(grad, -padding)


def _setup_context(ctx, inputs, output):
    ctx.padding = inputs[1]


pad.register_autograd(lambda ctx, grad: (fold_reflection(grad, ctx.padding), None), setup_context=_setup_context)


def _channels_last(x, padding):
    """An empty map, larger than x by `padding` on every side."""
    batch, channels, height, width = x.shape
    shape = batch, channels, height + 2 * padding, width + 2 * padding
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


# ---- plain operations ----


def plain_pad(x, padding):
    p, (height, width) = padding, x.shape[2:]
    out = _channels_last(x, p)
    rows = out[:, :, p : p + height]
    rows[:, :, :, p : p + width] = x
    rows[:, :, :, :p] = x[:, :, :, 1 : p + 1].flip(3)
    rows[:, :, :, p + width :] = x[:, :, :, width - p - 1 : width - 1].flip(3)
    out[:, :, :p] = rows[:, :, 1 : p + 1].flip(2)
    out[:, :, p + height :] = rows[:, :, height - p - 1 : height - 1].flip(2)
    return out


def plain_fold(grad, padding):
    """Border strips are added to the pixels that they are images of. No atomics."""
    p, height = padding, grad.shape[2] - 2 * padding
    out = _fold_columns(grad[:, :, p : p + height], p)
    out[:, :, 1 : p + 1] += _fold_columns(grad[:, :, :p], p).flip(2)
    out[:, :, height - p - 1 : height - 1] += _fold_columns(grad[:, :, p + height :], p).flip(2)
    return out


def _fold_columns(grad, p):
    width = grad.shape[3] - 2 * p
    out = grad[:, :, :, p : p + width].clone(memory_format=torch.channels_last)
    out[:, :, :, 1 : p + 1] += grad[:, :, :, :p].flip(3)
    out[:, :, :, width - p - 1 : width - 1] += grad[:, :, :, p + width :].flip(3)
    return out


def example(random, channels):
    """Arguments of either operation for a trial."""
    return random(2, channels, 125, 131), 2


FUSED_PAD = Fused(plain_pad, "padding_triton", "reflect_pad", example)
FUSED_FOLD = Fused(plain_fold, "padding_triton", "fold_reflection", example)
