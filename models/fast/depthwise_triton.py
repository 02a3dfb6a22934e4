"""Triton kernels of the three depthwise convolutions: forward, and backward without atomics.

A lane is `VECTOR` neighbouring channels of one column; lanes run along a row of the map (columns x channels, which are
contiguous), so every load and store is coalesced and no lane idles when C is no power of two. A program makes RUN
outputs, three rows apart: a value it loads serves up to RUN outputs from registers, and row arithmetic, the reflection
included, is scalar. Arithmetic is float32.
"""

import torch
import triton
from triton import language as tl

TAPS = 83  # 49 + 25 + 9
RUN = 4  # outputs a lane
LANES = 128  # lanes a program: one a thread at 4 warps
VECTOR = 4  # channels a lane: 8 bytes of bfloat16
SUMS = 96  # programs that the weights' gradient is summed in, fixed so that the order of summation is


def forward(y, weights, biases):
    """As plain_forward, for a channels_last map."""
    batch, channels, height, width = y.shape
    z = torch.empty(batch, height, width, 3 * channels, dtype=y.dtype, device=y.device)
    bias = torch.cat(biases).float()
    vector = _vector(channels)
    grid = _grid(batch, channels, height, width, vector)
    forward_kernel[grid](y, _pack(weights), bias, z, height, width, channels, vector, LANES, RUN)
    return z.permute(0, 3, 1, 2)


def backward(grad, y, weights):
    """As plain_backward, for channels_last maps."""
    batch, channels, height, width = y.shape
    grad_y = torch.empty_like(y)
    vector = _vector(channels)
    grid = _grid(batch, channels, height, width, vector)
    gradient_kernel[grid](grad, _pack(weights), grad_y, height, width, channels, vector, LANES, RUN)

    block = min(32, triton.next_power_of_2(channels))
    columns = 512 // block
    sums = torch.empty(SUMS, TAPS + 3, channels, dtype=torch.float32, device=y.device)
    items = batch * 3 * triton.cdiv(height, 3 * RUN) * triton.cdiv(width, columns)
    grid = (7, SUMS, triton.cdiv(channels, block))
    weights_kernel[grid](grad, y, sums, height, width, items, channels, block, columns, RUN, SUMS)
    *taps, biases = sums.sum(0).split((49, 25, 9, 3))
    return grad_y, [t.t().view(w.shape) for t, w in zip(taps, weights, strict=True)], list(biases)


def _pack(weights):
    """The taps of the three kernels, 83 x C float32: 49, 25, 9 rows, a tap's channels together."""
    return torch.cat([w.flatten(1) for w in weights], dim=1).t().float().contiguous()


def _vector(channels):
    """The greatest power of two up to VECTOR that divides the channels."""
    return min(channels & -channels, VECTOR)


def _grid(batch, channels, height, width, vector):
    lanes = width * channels // vector
    return triton.cdiv(lanes, LANES), 3 * triton.cdiv(height, 3 * RUN), batch


@triton.jit
def _reflect(index, side):
    """Reflection without repeated edge, then clamped: rows that only masked outputs read may lie far outside."""
    index = tl.abs(index)
    index = tl.minimum(index, 2 * (side - 1) - index)
    return tl.maximum(index, 0)


@triton.jit
def _replace(values, position: tl.constexpr, value):
    return values[:position] + (value,) + values[position + 1 :]


@triton.jit
def forward_kernel(
    y,
    weights,
    bias,
    z,
    height,
    width,
    C: tl.constexpr,
    VECTOR: tl.constexpr,
    LANES: tl.constexpr,
    RUN: tl.constexpr,
):
    """Grid: lanes of a row, groups of RUN rows, images."""
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    column = lane // (C // VECTOR)
    channel = (lane % (C // VECTOR) * VECTOR)[:, None] + tl.arange(0, VECTOR)[None, :]
    inside = (column < width)[:, None] & (channel < C)
    group = tl.program_id(1)
    top = group // 3 * 3 * RUN + group % 3
    y += tl.program_id(2).to(tl.int64) * height * width * C
    z += tl.program_id(2).to(tl.int64) * height * width * (3 * C)

    zero = tl.zeros((LANES, VECTOR), tl.float32)
    sum7 = (zero + tl.load(bias + channel),) * RUN
    sum5 = (zero + tl.load(bias + C + channel),) * RUN
    sum3 = (zero + tl.load(bias + 2 * C + channel),) * RUN
    for j in tl.static_range(7):
        source = _reflect(column + 3 * (j - 3), width)[:, None] * C + channel
        values = ()
        for k in tl.static_range(RUN + 6):
            row = _reflect(top + 3 * (k - 3), height)
            values = values + (tl.load(y + row * width * C + source),)
        for i in tl.static_range(7):
            weight = tl.load(weights + (i * 7 + j) * C + channel)
            for r in tl.static_range(RUN):
                sum7 = _replace(sum7, r, sum7[r] + values[i + r].to(tl.float32) * weight)
            if i >= 1 and i <= 5 and j >= 1 and j <= 5:
                weight = tl.load(weights + (49 + (i - 1) * 5 + j - 1) * C + channel)
                for r in tl.static_range(RUN):
                    sum5 = _replace(sum5, r, sum5[r] + values[i + r].to(tl.float32) * weight)
            if i >= 2 and i <= 4 and j >= 2 and j <= 4:
                weight = tl.load(weights + (74 + (i - 2) * 3 + j - 2) * C + channel)
                for r in tl.static_range(RUN):
                    sum3 = _replace(sum3, r, sum3[r] + values[i + r].to(tl.float32) * weight)

    for r in tl.static_range(RUN):
        row = top + 3 * r
        target = z + (row * width + column)[:, None] * (3 * C) + channel
        tl.store(target, sum7[r].to(z.dtype.element_ty), mask=inside & (row < height))
        tl.store(target + C, sum5[r].to(z.dtype.element_ty), mask=inside & (row < height))
        tl.store(target + 2 * C, sum3[r].to(z.dtype.element_ty), mask=inside & (row < height))


@triton.jit
def gradient_kernel(
    grad,
    weights,
    grad_y,
    height,
    width,
    C: tl.constexpr,
    VECTOR: tl.constexpr,
    LANES: tl.constexpr,
    RUN: tl.constexpr,
):
    """The gradient of y. A pixel has up to nine images: itself, and those mirrored at the edges, along rows (m) and
    columns (n); 0: itself, 1: mirrored at the first edge, 2: at the last. Most programs meet the first only."""
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    column = lane // (C // VECTOR)
    channel = (lane % (C // VECTOR) * VECTOR)[:, None] + tl.arange(0, VECTOR)[None, :]
    inside = (column < width)[:, None] & (channel < C)
    group = tl.program_id(1)
    top = group // 3 * 3 * RUN + group % 3
    grad += tl.program_id(2).to(tl.int64) * height * width * (3 * C)
    grad_y += tl.program_id(2).to(tl.int64) * height * width * C
    left = tl.program_id(0) * LANES // (C // VECTOR)
    right = (tl.program_id(0) * LANES + LANES - 1) // (C // VECTOR)

    total = (tl.zeros((LANES, VECTOR), tl.float32),) * RUN
    for image in range(9):
        m, n = image // 3, image % 3
        near_row = (m == 0) | ((m == 1) & (top <= 9)) | ((m == 2) & (top + 3 * RUN - 3 >= height - 10))
        near_column = (n == 0) | ((n == 1) & (left <= 9)) | ((n == 2) & (right >= width - 10))
        if near_row & near_column:
            row_sign = tl.where(m == 0, 1, -1)
            row_start = tl.where(m == 2, 2 * (height - 1), 0)
            column_sign = tl.where(n == 0, 1, -1)
            column_start = tl.where(n == 2, 2 * (width - 1), 0)
            part = (tl.zeros((LANES, VECTOR), tl.float32),) * RUN
            for kernel in tl.static_range(3):
                SIDE: tl.constexpr = 7 - 2 * kernel
                HALF: tl.constexpr = 3 - kernel
                FIRST: tl.constexpr = 0 if kernel == 0 else (49 if kernel == 1 else 74)
                for b in tl.static_range(SIDE):
                    source = column_start + column_sign * (column + 3 * (b - HALF))
                    valid = ((source >= 0) & (source < width))[:, None] & inside
                    source = source[:, None] * (3 * C) + kernel * C + channel
                    j = HALF + column_sign * (HALF - b)
                    values = ()
                    for k in tl.static_range(RUN + SIDE - 1):
                        row = row_start + row_sign * (top + 3 * (k - HALF))
                        mask = valid & (row >= 0) & (row < height)
                        value = tl.load(grad + row * width * (3 * C) + source, mask=mask, other=0.0)
                        values = values + (value,)
                    for a in tl.static_range(SIDE):
                        i = HALF + row_sign * (HALF - a)
                        weight = tl.load(weights + (FIRST + i * SIDE + j) * C + channel)
                        for r in tl.static_range(RUN):
                            part = _replace(part, r, part[r] + values[a + r].to(tl.float32) * weight)
            # pixels on an edge are their own mirror image, counted once
            own_column = ((n != 1) | (column > 0)) & ((n != 2) | (column < width - 1))
            for r in tl.static_range(RUN):
                row = top + 3 * r
                own = own_column & ((m != 1) | (row > 0)) & ((m != 2) | (row < height - 1))
                total = _replace(total, r, total[r] + tl.where(own[:, None], part[r], 0.0))

    for r in tl.static_range(RUN):
        row = top + 3 * r
        target = grad_y + (row * width + column)[:, None] * C + channel
        tl.store(target, total[r].to(grad_y.dtype.element_ty), mask=inside & (row < height))


@triton.jit
def weights_kernel(
    grad,
    y,
    sums,
    height,
    width,
    items,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    RUN: tl.constexpr,
    SUMS: tl.constexpr,
):
    """The gradients of weights and biases, summed over every SUMS-th item (an image's RUN rows, COLUMNS wide).

    Grid: column j of the kernels, sums, blocks of channels. The sums lie as SUMS x (49 + 25 + 9 + 3) x C.
    """
    j = tl.program_id(0)
    channel = (tl.program_id(2) * BLOCK + tl.arange(0, BLOCK))[None, :]
    blocks = tl.cdiv(width, COLUMNS)
    groups = 3 * tl.cdiv(height, 3 * RUN)
    zero = tl.zeros((COLUMNS, BLOCK), tl.float32)
    sum7, sum5, sum3, bias = (zero,) * 7, (zero,) * 5, (zero,) * 3, (zero,) * 3
    item = tl.program_id(1)
    while item < items:
        column = item % blocks * COLUMNS + tl.arange(0, COLUMNS)
        group = item // blocks % groups
        top = group // 3 * 3 * RUN + group % 3
        start = (item // blocks // groups).to(tl.int64) * height
        inside = (column < width)[:, None] & (channel < C)
        source = _reflect(column + 3 * (j - 3), width)[:, None] * C + channel
        grad7, grad5, grad3 = (), (), ()
        for r in tl.static_range(RUN):
            row = top + 3 * r
            target = grad + ((start + row) * width + column)[:, None] * (3 * C) + channel
            mask = inside & (row < height)
            inner = mask & (j >= 1) & (j <= 5)
            innermost = mask & (j >= 2) & (j <= 4)
            grad7 = grad7 + (tl.load(target, mask=mask, other=0.0),)
            grad5 = grad5 + (tl.load(target + C, mask=inner, other=0.0),)
            grad3 = grad3 + (tl.load(target + 2 * C, mask=innermost, other=0.0),)
            bias = _replace(bias, 0, bias[0] + grad7[r].to(tl.float32))
            bias = _replace(bias, 1, bias[1] + grad5[r].to(tl.float32))
            bias = _replace(bias, 2, bias[2] + grad3[r].to(tl.float32))
        for k in tl.static_range(RUN + 6):
            row = _reflect(top + 3 * (k - 3), height)
            value = tl.load(y + (start + row) * width * C + source, mask=inside, other=0.0).to(tl.float32)
            for r in tl.static_range(RUN):
                if k - r >= 0 and k - r <= 6:
                    sum7 = _replace(sum7, k - r, sum7[k - r] + value * grad7[r].to(tl.float32))
                if k - r >= 1 and k - r <= 5:
                    sum5 = _replace(sum5, k - r - 1, sum5[k - r - 1] + value * grad5[r].to(tl.float32))
                if k - r >= 2 and k - r <= 4:
                    sum3 = _replace(sum3, k - r - 2, sum3[k - r - 2] + value * grad3[r].to(tl.float32))
        item += SUMS

    channel = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    sums += tl.program_id(1) * (86 * C) + channel
    for i in tl.static_range(7):
        tl.store(sums + (i * 7 + j) * C, tl.sum(sum7[i], 0), mask=channel < C)
    for i in tl.static_range(5):
        tl.store(sums + (49 + i * 5 + j - 1) * C, tl.sum(sum5[i], 0), mask=(channel < C) & (j >= 1) & (j <= 5))
    for i in tl.static_range(3):
        tl.store(sums + (74 + i * 3 + j - 2) * C, tl.sum(sum3[i], 0), mask=(channel < C) & (j >= 2) & (j <= 4))
    for i in tl.static_range(3):
        tl.store(sums + (83 + i) * C, tl.sum(bias[i], 0), mask=(channel < C) & (j == 3))
