"""Reflect padding. On CUDA torch's own always returns NCHW, and its gradient is summed with atomics.

A lane is `VECTOR` neighbouring channels of one column, and lanes run along a row, where columns and channels are
contiguous: loads and stores are coalesced. Row offsets are 64-bit scalars, as a map of 30 megapixels passes 2^31
numbers; offsets within a row fit into 32 bits.
"""

import torch
import triton
from triton import language as tl

LANES = 128  # lanes a program: one a thread at 4 warps
VECTOR = 4  # channels a lane: 8 bytes of bfloat16


def reflect_pad(x, padding):
    """Pad B x C x H x W by `padding` pixels on all sides, by reflection; returns channels_last."""
    return ReflectPad.apply(x, padding)


class ReflectPad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, padding):
        ctx.padding = padding
        x = channels_last(x)
        batch, channels, height, width = x.shape
        out = new_map(x, (batch, channels, height + 2 * padding, width + 2 * padding))
        pad_kernel[over_rows(out)](x, out, height, width, padding, channels, vector(channels), LANES)
        return out

    @staticmethod
    def backward(ctx, grad):
        return fold_reflection(channels_last(grad), ctx.padding), None


def fold_reflection(grad, padding):
    """The gradient of `reflect_pad`: border pixels are added to those that they are images of."""
    batch, channels, height, width = grad.shape
    out = new_map(grad, (batch, channels, height - 2 * padding, width - 2 * padding))
    fold_kernel[over_rows(out)](grad, out, *out.shape[2:], padding, channels, vector(channels), LANES)
    return out


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def new_map(like, shape):
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def vector(channels):
    """The greatest power of two up to VECTOR that divides the channels, so that no lane idles."""
    return min(channels & -channels, VECTOR)


def over_rows(out):
    """A grid of rows, blocks of a row's lanes, images."""
    batch, channels, height, width = out.shape
    return height, triton.cdiv(width * channels // vector(channels), LANES), batch


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
    """Grid: `over_rows` of the padded map."""
    column, channel = place(tl.program_id(1), C, VECTOR, LANES)
    row, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    x += (image * height + reflect(row - padding, height)) * width * C
    out += (image * (height + 2 * padding) + row) * (width + 2 * padding) * C
    inside = (column < width + 2 * padding)[:, None] & (channel < C)
    value = tl.load(x + reflect(column - padding, width)[:, None] * C + channel, mask=inside)
    tl.store(out + column[:, None] * C + channel, value, mask=inside)


@triton.jit(do_not_specialize=["height", "width", "padding"])
def fold_kernel(grad, out, height, width, padding, C: tl.constexpr, VECTOR: tl.constexpr, LANES: tl.constexpr):
    """A pixel gathers the gradients of all its images: itself, and those mirrored at the first and the last edge.

    Grid: `over_rows` of the map without padding.
    """
    column, channel = place(tl.program_id(1), C, VECTOR, LANES)
    row, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    inside = (column < width)[:, None] & (channel < C)
    total = tl.zeros((LANES, VECTOR), tl.float32)
    for m in tl.static_range(3):
        source_row, has_row = mirrored(row, height, padding, m)
        source = grad + (image * (height + 2 * padding) + source_row) * (width + 2 * padding) * C
        for n in tl.static_range(3):
            source_column, has_column = mirrored(column, width, padding, n)
            mask = inside & (has_column & has_row)[:, None]
            total += tl.load(source + source_column[:, None] * C + channel, mask=mask, other=0.0).to(tl.float32)
    out += (image * height + row) * width * C
    tl.store(out + column[:, None] * C + channel, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def mirrored(index, side, padding, edge: tl.constexpr):
    """Where the image of an index at an edge lies in the padded map, and whether there is one. edge 0: itself."""
    if edge == 0:
        return padding + index, index >= 0
    elif edge == 1:
        return padding - index, (index >= 1) & (index <= padding)
    else:
        return padding + 2 * (side - 1) - index, (index >= side - 1 - padding) & (index <= side - 2)
