"""The three depthwise convolutions of a mix-structure block as one operation: they read one map and pad nothing.

Loops over a kernel's columns stay loops, and those over its rows are unrolled: fully unrolled, the code is larger than
a GPU's instruction cache and takes ten times as long to compile. Lanes are those of pad.py. A program makes RUN
outputs, three rows apart: a value that it loads serves up to RUN outputs from registers, and row arithmetic, the
reflection included, is scalar. Arithmetic is float32.
"""

import torch
import triton
from triton import language as tl

from .pad import LANES, channels_last, fold_reflection, new_map, place, reflect, vector

KERNELS, DILATION = (7, 5, 3), 3
REACH = 9  # pixels, of the widest kernel: a map must have at least 10 a side
TAPS = (49, 25, 9)
RUN = 4  # rows, three apart, that a program works on at once
SUMS = 96  # programs that sum the weights' gradients, a fixed number so that the order of summation is fixed


def depthwise(y, weights, biases):
    """torch.cat of three depthwise convolutions of one map (kernels 7, 5, 3, dilation 3, reflect padding 9, 6, 3).

    y: B x C x H x W, at least 10 pixels a side. weights: C x 1 x k x k for k = 7, 5, 3; biases: C each; of y's type or
    wider. Returns B x 3C x H x W, channels_last, of y's type. Differentiable once, in every argument.
    """
    return Depthwise.apply(y, *weights, *biases)


def fits(layers):
    """Whether convolutions are those that `depthwise` computes."""
    facts = [(layer.kernel_size[0], layer.dilation[0], layer.groups == layer.in_channels) for layer in layers]
    return facts == [(kernel, DILATION, True) for kernel in KERNELS]


class Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, *parameters):
        y, weights, biases = channels_last(y), parameters[:3], parameters[3:]
        ctx.save_for_backward(y, *weights)
        batch, channels, height, width = y.shape
        z = new_map(y, (batch, 3 * channels, height, width))
        maps = y, pack(weights), *biases, z
        forward_kernel[over_runs(y.shape)](*maps, height, width, channels, vector(channels), LANES, RUN)
        return z

    @staticmethod
    def backward(ctx, grad):
        """The padded map's gradient is a convolution with flipped kernels, folded back along the reflection."""
        (y, *weights), grad = ctx.saved_tensors, channels_last(grad)
        batch, channels, height, width = y.shape
        padded = new_map(y, (batch, channels, height + 2 * REACH, width + 2 * REACH))
        maps = grad, pack(weights), padded
        gradient_kernel[over_runs(padded.shape)](*maps, height, width, channels, vector(channels), LANES, RUN)
        return fold_reflection(padded, REACH), *parameter_gradients(y, grad)


def pack(weights):
    """The taps of the three kernels, 83 x C float32: 49, 25, 9 rows, a tap's channels together."""
    return torch.cat([weight.flatten(1).t() for weight in weights]).float()


def over_runs(shape):
    """A grid of blocks of a row's lanes, groups of RUN rows, images."""
    batch, channels, height, width = shape
    return triton.cdiv(width * channels // vector(channels), LANES), 3 * triton.cdiv(height, 3 * RUN), batch


def parameter_gradients(y, grad):
    """The gradients of the three weights and the three biases, float32. y, grad: channels_last."""
    batch, channels, height, width = y.shape
    block = min(32, triton.next_power_of_2(channels))
    columns = 512 // block
    sums = torch.empty(SUMS, sum(TAPS) + 3, channels, dtype=torch.float32, device=y.device)
    items = batch * 3 * triton.cdiv(height, 3 * RUN) * triton.cdiv(width, columns)
    grid = 7, SUMS, triton.cdiv(channels, block)
    weights_kernel[grid](grad, y, sums, height, width, items, channels, block, columns, RUN, SUMS)
    *weights, biases = sums.sum(0).split([*TAPS, 3])
    return *(w.t().reshape(-1, 1, k, k).contiguous() for w, k in zip(weights, KERNELS, strict=True)), *biases


@triton.jit(do_not_specialize=["height", "width"])
def forward_kernel(
    y, weights, bias7, bias5, bias3, z, height, width,
    C: tl.constexpr, VECTOR: tl.constexpr, LANES: tl.constexpr, RUN: tl.constexpr,
):  # fmt: skip
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


@triton.jit
def replace(values, position: tl.constexpr, value):
    return values[:position] + (value,) + values[position + 1 :]


@triton.jit(do_not_specialize=["height", "width", "items"])
def weights_kernel(
    grad, y, sums, height, width, items,
    C: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, RUN: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
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
