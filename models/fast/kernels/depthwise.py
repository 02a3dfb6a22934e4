"""The three depthwise convolutions of a mix-structure block as one operation: they read one map and pad nothing.

Loops over a kernel's columns stay loops, and those over its rows are unrolled: fully unrolled, the code is larger than
a GPU's instruction cache and takes ten times as long to compile. Lanes are those of pad.py. A program makes RUN
outputs, three rows apart: a value that it loads serves up to RUN outputs from registers, and row arithmetic, the
reflection included, is scalar. Arithmetic is float32.
"""

import torch
import triton
from triton import language as tl

from . import channels_last, new_map
from .pad import LANES, fold_reflection, place, reflect, vector

KERNELS, DILATION = (7, 5, 3), 3
REACH = 9  # pixels, of the widest kernel: a map must have at least 10 a side
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
        z = new_map(y, 3 * y.shape[1])
        correlate(y, weights, biases, z, y, forward=True)
        return z

    @staticmethod
    def backward(ctx, grad):
        """The padded map's gradient is a correlation with flipped kernels, folded back along the reflection."""
        (y, *weights), grad = ctx.saved_tensors, channels_last(grad)
        padded = new_map(y, y.shape[1], border=REACH)
        correlate(grad, [weight.flip(2, 3) for weight in weights], None, padded, y, forward=False)
        gradients = [weight_gradients(y, grad, number) for number in range(3)]
        return fold_reflection(padded, REACH), *(weight for weight, _ in gradients), *(bias for _, bias in gradients)


def correlate(x, weights, biases, out, y, forward):
    """Launch correlate_kernel. The taps lie as 83 x C float32: 49, 25, 9 rows, a tap's channels together."""
    taps = torch.cat([weight.flatten(1).t() for weight in weights]).float()
    biases = taps if biases is None else torch.stack(biases).float()
    (_, channels, height, width), (batch, _, rows, columns) = y.shape, out.shape
    grid = triton.cdiv(columns * channels // vector(channels), LANES), 3 * triton.cdiv(rows, 3 * RUN), batch
    correlate_kernel[grid](x, taps, biases, out, height, width, channels, vector(channels), LANES, RUN, forward)


def weight_gradients(y, grad, number):
    """The gradients of the weight and the bias of one of the kernels, float32. y, grad: channels_last."""
    (batch, channels, height, width), side = y.shape, KERNELS[number]
    block = min(32, triton.next_power_of_2(channels))
    columns = 512 // block
    sums = torch.empty(SUMS, side * side + 1, channels, dtype=torch.float32, device=y.device)
    items = batch * 3 * triton.cdiv(height, 3 * RUN) * triton.cdiv(width, columns)
    grid = side, SUMS, triton.cdiv(channels, block)
    weights_kernel[grid](grad, y, sums, height, width, items, channels, number, block, columns, RUN, SUMS)
    sums = sums.sum(0)
    return sums[:-1].t().reshape(-1, 1, side, side).contiguous(), sums[-1]


@triton.jit
def replace(values, position: tl.constexpr, value):
    return values[:position] + (value,) + values[position + 1 :]


@triton.jit(do_not_specialize=["height", "width"])
def correlate_kernel(
    x, taps, biases, out, height, width,
    C: tl.constexpr, VECTOR: tl.constexpr, LANES: tl.constexpr, RUN: tl.constexpr, FORWARD: tl.constexpr,
):  # fmt: skip
    """Forward: from a map, reflected at its borders, to one map a kernel. Backward: from one map a kernel, with zeros
    around it, to the sum of the correlations, nine pixels larger on every side.

    Grid: blocks of a row's lanes, groups of RUN rows, images of the output.
    """
    column, channel = place(tl.program_id(0), C, VECTOR, LANES)
    group, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    top = group // 3 * 3 * RUN + group % 3
    EDGE: tl.constexpr = 0 if FORWARD else 9
    OUT: tl.constexpr = 3 * C if FORWARD else C  # channels
    inside = (column < width + 2 * EDGE)[:, None] & (channel < C)

    total = (tl.zeros((LANES, VECTOR), tl.float32),) * RUN
    for side in tl.static_range(7, 1, -2):  # of the kernels
        first = channel + (7 - side) // 2 * C  # of the map's channels, where there are three a kernel
        if FORWARD:
            total = (tl.zeros((LANES, VECTOR), tl.float32) + tl.load(biases + first),) * RUN
        for j in range(side):
            source, values = column - EDGE + 3 * (j - side // 2), ()
            valid = inside & ((source >= 0) & (source < width))[:, None]
            offset = reflect(source, width)[:, None] * C + channel if FORWARD else source[:, None] * (3 * C) + first
            for k in tl.static_range(RUN + side - 1):
                row = top - EDGE + 3 * (k - side // 2)
                if FORWARD:
                    value = tl.load(x + (image * height + reflect(row, height)) * width * C + offset)
                else:
                    mask = valid & (row >= 0) & (row < height)
                    value = tl.load(x + (image * height + row) * width * (3 * C) + offset, mask=mask, other=0.0)
                values = values + (value,)
            for i in tl.static_range(side):
                tap = 49 * (side < 7) + 25 * (side < 5) + i * side + j
                weight = tl.load(taps + tap * C + channel)
                for r in tl.static_range(RUN):
                    total = replace(total, r, total[r] + values[i + r].to(tl.float32) * weight)
        if FORWARD or side == 3:
            for r in tl.static_range(RUN):
                row = top + 3 * r
                target = out + (image * (height + 2 * EDGE) + row) * (width + 2 * EDGE) * OUT
                target += column[:, None] * OUT + (first if FORWARD else channel)
                tl.store(target, total[r].to(out.dtype.element_ty), mask=inside & (row < height + 2 * EDGE))


@triton.jit(do_not_specialize=["height", "width", "items"])
def weights_kernel(
    grad, y, sums, height, width, items, C: tl.constexpr, NUMBER: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, RUN: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    """The gradients of a kernel's weight and bias, summed over every SUMS-th item (an image's RUN rows, COLUMNS wide).

    Grid: columns of the kernel, sums, blocks of channels. The sums lie as SUMS x (taps, then the bias) x C.
    """
    SIDE: tl.constexpr = 7 - 2 * NUMBER
    j = tl.program_id(0)
    channel = (tl.program_id(2) * BLOCK + tl.arange(0, BLOCK))[None, :]
    blocks, groups = tl.cdiv(width, COLUMNS), 3 * tl.cdiv(height, 3 * RUN)
    bias = tl.zeros((COLUMNS, BLOCK), tl.float32)
    total = (bias,) * SIDE
    item = tl.program_id(1)
    while item < items:
        column = item % blocks * COLUMNS + tl.arange(0, COLUMNS)
        group = item // blocks % groups
        top = group // 3 * 3 * RUN + group % 3
        start = (item // blocks // groups).to(tl.int64) * height
        inside = (column < width)[:, None] & (channel < C)
        grads = ()
        for r in tl.static_range(RUN):
            at = grad + ((start + top + 3 * r) * width * 3 + NUMBER) * C + column[:, None] * (3 * C) + channel
            grads = grads + (tl.load(at, mask=inside & (top + 3 * r < height), other=0.0).to(tl.float32),)
            bias += grads[r]
        source = reflect(column + 3 * (j - SIDE // 2), width)[:, None] * C + channel
        for k in tl.static_range(RUN + SIDE - 1):
            row = start + reflect(top + 3 * (k - SIDE // 2), height)
            value = tl.load(y + row * width * C + source, mask=inside, other=0.0).to(tl.float32)
            for r in tl.static_range(RUN):
                if k - r >= 0 and k - r < SIDE:
                    total = replace(total, k - r, total[k - r] + value * grads[r])
        item += SUMS

    channel = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    sums += tl.program_id(1) * ((SIDE * SIDE + 1) * C) + channel
    for i in tl.static_range(SIDE):
        tl.store(sums + (i * SIDE + j) * C, tl.sum(total[i], 0), mask=channel < C)
    tl.store(sums + SIDE * SIDE * C, tl.sum(bias, 0), mask=(channel < C) & (j == 0))
