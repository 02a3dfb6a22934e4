"""Triton kernels of the gradients of the three depthwise convolutions' weights and biases, without atomics.

A program sums over every SUMS-th run of rows, and a second kernel adds the programs' sums in fixed order.
"""

import torch
import triton
from triton import language as tl

from .padding_triton import reflect

TAPS = 83  # 49 + 25 + 9
RUN = 4  # rows, three apart, that a program works on at once
SUMS = 96  # programs that sum, fixed so that the order of summation is


def gradients(y, grad, weights):
    """Lists of the gradients of the three weights and biases, of the weights' type; maps are channels_last."""
    batch, channels, height, width = y.shape
    block = min(32, triton.next_power_of_2(channels))
    columns = 512 // block
    sums = torch.empty(SUMS, TAPS + 3, channels, dtype=torch.float32, device=y.device)
    items = batch * 3 * triton.cdiv(height, 3 * RUN) * triton.cdiv(width, columns)
    grid = (7, SUMS, triton.cdiv(channels, block))
    weights_kernel[grid](grad, y, sums, height, width, items, channels, block, columns, RUN, SUMS)
    grad_weights = [weight.new_empty(weight.shape) for weight in weights]
    grad_biases = [weight.new_empty(channels) for weight in weights]
    grid = (TAPS + 3, triton.cdiv(channels, block))
    sum_kernel[grid](sums, *grad_weights, *grad_biases, channels, block, triton.next_power_of_2(SUMS), SUMS)
    return grad_weights, grad_biases


@triton.jit
def replace(values, position: tl.constexpr, value):
    return values[:position] + (value,) + values[position + 1 :]


@triton.jit(do_not_specialize=["height", "width", "items"])
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
        source = reflect(column + 3 * (j - 3), width)[:, None] * C + channel
        grad7, grad5, grad3 = (), (), ()
        for r in tl.static_range(RUN):
            row = top + 3 * r
            target = grad + (start + row) * width * (3 * C) + column[:, None] * (3 * C) + channel
            mask = inside & (row < height)
            inner = mask & (j >= 1) & (j <= 5)
            innermost = mask & (j >= 2) & (j <= 4)
            grad7 = grad7 + (tl.load(target, mask=mask, other=0.0),)
            grad5 = grad5 + (tl.load(target + C, mask=inner, other=0.0),)
            grad3 = grad3 + (tl.load(target + 2 * C, mask=innermost, other=0.0),)
            bias = replace(bias, 0, bias[0] + grad7[r].to(tl.float32))
            bias = replace(bias, 1, bias[1] + grad5[r].to(tl.float32))
            bias = replace(bias, 2, bias[2] + grad3[r].to(tl.float32))
        for k in tl.static_range(RUN + 6):
            row = start + reflect(top + 3 * (k - 3), height)
            value = tl.load(y + row * width * C + source, mask=inside, other=0.0).to(tl.float32)
            for r in tl.static_range(RUN):
                if k - r >= 0 and k - r <= 6:
                    sum7 = replace(sum7, k - r, sum7[k - r] + value * grad7[r].to(tl.float32))
                if k - r >= 1 and k - r <= 5:
                    sum5 = replace(sum5, k - r - 1, sum5[k - r - 1] + value * grad5[r].to(tl.float32))
                if k - r >= 2 and k - r <= 4:
                    sum3 = replace(sum3, k - r - 2, sum3[k - r - 2] + value * grad3[r].to(tl.float32))
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


@triton.jit
def sum_kernel(
    sums,
    weight7,
    weight5,
    weight3,
    bias7,
    bias5,
    bias3,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    SUMS: tl.constexpr,
):
    """The SUMS sums of every tap added in fixed order, and the results put where they belong.

    Grid: taps and biases, blocks of channels.
    """
    tap = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < C
    row = tl.arange(0, ROWS)[:, None]
    parts = tl.load(sums + (row * 86 + tap) * C + channel[None, :], mask=(row < SUMS) & inside[None, :], other=0.0)
    value = tl.sum(parts, 0).to(weight7.dtype.element_ty)
    tl.store(weight7 + channel * 49 + tap, value, mask=inside & (tap < 49))
    tl.store(weight5 + channel * 25 + tap - 49, value, mask=inside & (tap >= 49) & (tap < 74))
    tl.store(weight3 + channel * 9 + tap - 74, value, mask=inside & (tap >= 74) & (tap < 83))
    tl.store(bias7 + channel, value, mask=inside & (tap == 83))
    tl.store(bias5 + channel, value, mask=inside & (tap == 84))
    tl.store(bias3 + channel, value, mask=inside & (tap == 85))
