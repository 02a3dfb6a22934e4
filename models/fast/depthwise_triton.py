"""Triton kernels of the three depthwise convolutions: forward, and backward without atomics.

Loops over a kernel's columns stay loops, and those over its rows are unrolled: fully unrolled, the code is larger than
a GPU's instruction cache and takes ten times as long to compile.
Lanes are those of padding_triton.py, so none idles when C is no power of two. A program makes RUN outputs, three rows
apart: a value that it loads serves up to RUN outputs from registers, and row arithmetic, the reflection included, is
scalar. Arithmetic is float32.
"""

import torch
import triton
from triton import language as tl

from .depthwise_weights_triton import RUN, TAPS, gradients, replace
from .padding_triton import LANES, fold_reflection, place, reflect, vector

REACH = 9  # of the widest kernel


def forward(y, weights, biases):
    """As plain_forward, for a channels_last map."""
    batch, channels, height, width = y.shape
    z = _new_map(y, (batch, 3 * channels, height, width))
    grid = _over_runs(y.shape)
    forward_kernel[grid](y, _pack(weights), *biases, z, height, width, channels, vector(channels), LANES, RUN)
    return z


def backward(y, grad, weights):
    """As plain_backward, for channels_last maps."""
    batch, channels, height, width = y.shape
    padded = _new_map(y, (batch, channels, height + 2 * REACH, width + 2 * REACH))
    grid = _over_runs(padded.shape)
    gradient_kernel[grid](grad, _pack(weights), padded, height, width, channels, vector(channels), LANES, RUN)
    return fold_reflection(padded, REACH), *gradients(y, grad, weights)


def _pack(weights):
    """The taps of the three kernels, 83 x C float32: 49, 25, 9 rows, a tap's channels together."""
    channels = len(weights[0])
    packed = torch.empty(TAPS, channels, dtype=torch.float32, device=weights[0].device)
    block = min(32, triton.next_power_of_2(channels))
    pack_kernel[TAPS, triton.cdiv(channels, block)](*weights, packed, channels, block)
    return packed


def _new_map(like, shape):
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _over_runs(shape):
    """A grid of blocks of a row's lanes, groups of RUN rows, images."""
    batch, channels, height, width = shape
    return triton.cdiv(width * channels // vector(channels), LANES), 3 * triton.cdiv(height, 3 * RUN), batch


@triton.jit
def pack_kernel(weight7, weight5, weight3, packed, C: tl.constexpr, BLOCK: tl.constexpr):
    """Grid: taps, blocks of channels."""
    tap = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < C
    value = tl.load(weight7 + channel * 49 + tap, mask=inside & (tap < 49), other=0.0)
    value += tl.load(weight5 + channel * 25 + tap - 49, mask=inside & (tap >= 49) & (tap < 74), other=0.0)
    value += tl.load(weight3 + channel * 9 + tap - 74, mask=inside & (tap >= 74), other=0.0)
    tl.store(packed + tap * C + channel, value.to(tl.float32), mask=inside)


@triton.jit(do_not_specialize=["height", "width"])
def forward_kernel(
    y,
    weights,
    bias7,
    bias5,
    bias3,
    z,
    height,
    width,
    C: tl.constexpr,
    VECTOR: tl.constexpr,
    LANES: tl.constexpr,
    RUN: tl.constexpr,
):
    """Grid: `_over_runs` of the map."""
    column, channel = place(tl.program_id(0), C, VECTOR, LANES)
    inside = (column < width)[:, None] & (channel < C)
    group, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    top = group // 3 * 3 * RUN + group % 3

    zero = tl.zeros((LANES, VECTOR), tl.float32)
    sum7 = (zero + tl.load(bias7 + channel),) * RUN
    sum5 = (zero + tl.load(bias5 + channel),) * RUN
    sum3 = (zero + tl.load(bias3 + channel),) * RUN
    for j in range(7):
        source = reflect(column + 3 * (j - 3), width)[:, None] * C + channel
        values = ()
        for k in tl.static_range(RUN + 6):
            row = image * height + reflect(top + 3 * (k - 3), height)
            values = values + (tl.load(y + row * width * C + source),)
        for i in tl.static_range(7):
            weight = tl.load(weights + (i * 7 + j) * C + channel)
            for r in tl.static_range(RUN):
                sum7 = replace(sum7, r, sum7[r] + values[i + r].to(tl.float32) * weight)
        if (j >= 1) & (j <= 5):
            for i in tl.static_range(5):
                weight = tl.load(weights + (49 + i * 5 + j - 1) * C + channel)
                for r in tl.static_range(RUN):
                    sum5 = replace(sum5, r, sum5[r] + values[1 + i + r].to(tl.float32) * weight)
        if (j >= 2) & (j <= 4):
            for i in tl.static_range(3):
                weight = tl.load(weights + (74 + i * 3 + j - 2) * C + channel)
                for r in tl.static_range(RUN):
                    sum3 = replace(sum3, r, sum3[r] + values[2 + i + r].to(tl.float32) * weight)

    target = column[:, None] * (3 * C) + channel
    for r in tl.static_range(RUN):
        row = top + 3 * r
        z_row = z + (image * height + row) * width * (3 * C)
        mask = inside & (row < height)
        tl.store(z_row + target, sum7[r].to(z.dtype.element_ty), mask=mask)
        tl.store(z_row + target + C, sum5[r].to(z.dtype.element_ty), mask=mask)
        tl.store(z_row + target + 2 * C, sum3[r].to(z.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["height", "width"])
def gradient_kernel(
    grad, weights, padded, height, width, C: tl.constexpr, VECTOR: tl.constexpr, LANES: tl.constexpr, RUN: tl.constexpr
):
    """The gradient of the padded map: the correlation of the zero-filled gradients with the flipped kernels.

    Grid: `_over_runs` of the padded map.
    """
    column, channel = place(tl.program_id(0), C, VECTOR, LANES)
    inside = (column < width + 18)[:, None] & (channel < C)
    group, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    top = group // 3 * 3 * RUN + group % 3

    total = (tl.zeros((LANES, VECTOR), tl.float32),) * RUN
    for kernel in tl.static_range(3):  # of side 7, 5, 3
        for b in range(7 - 2 * kernel):
            source = column - 9 + 3 * (b - 3 + kernel)
            valid = inside & ((source >= 0) & (source < width))[:, None]
            source = source[:, None] * (3 * C) + kernel * C + channel
            values = ()
            for k in tl.static_range(RUN + 6 - 2 * kernel):
                row = top - 9 + 3 * (k - 3 + kernel)
                mask = valid & (row >= 0) & (row < height)
                value = tl.load(grad + (image * height + row) * width * (3 * C) + source, mask=mask, other=0.0)
                values = values + (value,)
            for a in tl.static_range(7 - 2 * kernel):
                last = 48 + 25 * (kernel > 0) + 9 * (kernel > 1)  # row of the kernel's last tap
                weight = tl.load(weights + (last - a * (7 - 2 * kernel) - b) * C + channel)
                for r in tl.static_range(RUN):
                    total = replace(total, r, total[r] + values[a + r].to(tl.float32) * weight)

    for r in tl.static_range(RUN):
        row = top + 3 * r
        target = padded + (image * (height + 18) + row) * (width + 18) * C + column[:, None] * C + channel
        tl.store(target, total[r].to(padded.dtype.element_ty), mask=inside & (row < height + 18))
