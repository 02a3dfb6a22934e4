"""Reflect padding. On CUDA torch's own always returns NCHW, and its gradient is summed with atomics.

A lane is `VECTOR` neighbouring channels of one column, and lanes run along a row, where columns and channels are
contiguous: loads and stores are coalesced. Row offsets are 64-bit scalars, as a map of 30 megapixels passes 2^31
numbers; offsets within a row fit into 32 bits.
"""

import torch
import triton
from triton import language as tl

from . import channels_last, new_map

LANES = 128  # lanes a program: one a thread at 4 warps
VECTOR = 4  # channels a lane: 8 bytes of bfloat16


class ReflectPad(torch.autograd.Function):
    """Pad B x C x H x W by `padding` pixels on all sides, by reflection; returns channels_last."""

    @staticmethod
    def forward(ctx, x, padding):
        ctx.padding = padding
        x = channels_last(x)
        batch, channels, height, width = x.shape
        out = new_map(x, channels, border=padding)
        grid = out.shape[2], triton.cdiv(out.shape[3] * channels // vector(channels), LANES), batch
        pad_kernel[grid](x, out, height, width, padding, channels, vector(channels), LANES)
        return out

    @staticmethod
    def backward(ctx, grad):
        return fold_reflection(grad, ctx.padding), None


reflect_pad = ReflectPad.apply


def fold_reflection(grad, padding):
    """The gradient of `reflect_pad`: border pixels are added to those that they are images of."""
    for dim in (2, 3):
        side = grad.shape[dim] - 2 * padding
        first, inner, last = grad.split([padding, side, padding], dim)
        grad = inner.clone(memory_format=torch.channels_last)
        grad.narrow(dim, 1, padding).add_(first.flip(dim))
        grad.narrow(dim, side - 1 - padding, padding).add_(last.flip(dim))
    return grad


def vector(channels):
    """The greatest power of two up to VECTOR that divides the channels, so that no lane idles."""
    return min(channels & -channels, VECTOR)


@triton.jit
def reflect(index, side):
    """Reflection without repeated edge, then clamped: rows that only masked outputs read may lie far outside."""
    index = tl.abs(index)
    index = tl.minimum(index, 2 * (side - 1) - index)
    return tl.maximum(index, 0)


@triton.jit
def place(block, C: tl.constexpr, VECTOR: tl.constexpr, LANES: tl.constexpr):
    """The columns, LANES, and the channels, LANES x VECTOR, of a program's lanes."""
    lane = block * LANES + tl.arange(0, LANES)
    return lane // (C // VECTOR), (lane % (C // VECTOR) * VECTOR)[:, None] + tl.arange(0, VECTOR)[None, :]


@triton.jit(do_not_specialize=["height", "width", "padding"])
def pad_kernel(x, out, height, width, padding, C: tl.constexpr, VECTOR: tl.constexpr, LANES: tl.constexpr):
    """Grid: rows, blocks of a row's lanes, images of the padded map."""
    column, channel = place(tl.program_id(1), C, VECTOR, LANES)
    row, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    x += (image * height + reflect(row - padding, height)) * width * C
    out += (image * (height + 2 * padding) + row) * (width + 2 * padding) * C
    inside = (column < width + 2 * padding)[:, None] & (channel < C)
    value = tl.load(x + reflect(column - padding, width)[:, None] * C + channel, mask=inside)
    tl.store(out + column[:, None] * C + channel, value, mask=inside)
