"""The three gated maps of a block's attention half, side by side: every map is read once, forward and backward.

An image is a matrix of pixels x C numbers; a tile is some pixels with all channels. Where an image begins is a 64-bit
number, as a batch passes 2^31 numbers; within an image the pixel's is.
"""

import torch
import triton
from triton import language as tl

from . import channels_last, new_map

TILE = 1024  # numbers of a tile
SUMS = 64  # programs an image that sum the gates' gradients, a fixed number so that the order of summation is fixed


class Gated(torch.autograd.Function):
    """torch.cat([(value + bias) * gate, channel * y, pixel * y], dim=1), channels_last.

    value, y: B x C x H x W. bias: C. gate, channel: B x C x 1 x 1. pixel: B x 1 x H x W. Returns B x 3C x H x W of y's
    type. Differentiable once, in every argument.
    """

    @staticmethod
    def forward(ctx, value, bias, y, gate, channel, pixel):
        value, y, gate, channel, pixel = map(channels_last, (value, y, gate, channel, pixel))
        ctx.save_for_backward(value, bias, y, gate, channel, pixel)
        batch, channels, height, width = y.shape
        out = new_map(y, 3 * channels)
        block, pixels = tile(channels)
        grid = triton.cdiv(height * width, pixels), batch
        gated_kernel[grid](value, bias, y, gate, channel, pixel, out, height * width, channels, block, pixels)
        return out

    @staticmethod
    def backward(ctx, grad):
        value, bias, y, gate, channel, pixel = ctx.saved_tensors
        batch, channels, height, width = y.shape
        grad_value, grad_y, grad_pixel = (torch.empty_like(x) for x in (value, y, pixel))
        sums = torch.empty(batch, SUMS, 3, channels, dtype=torch.float32, device=y.device)
        maps = value, bias, y, gate, channel, pixel, channels_last(grad), grad_value, grad_y, grad_pixel, sums
        gates_kernel[SUMS, batch](*maps, height * width, channels, *tile(channels), SUMS)
        by_gate, by_channel, plain = sums.sum(1).unbind(1)  # B x C each
        grad_bias = (plain * gate[:, :, 0, 0]).sum(0)
        return grad_value, grad_bias, grad_y, by_gate[..., None, None], by_channel[..., None, None], grad_pixel


gated = Gated.apply


def tile(channels):
    """The channels, rounded up to a power of two, and the pixels of a tile."""
    block = triton.next_power_of_2(channels)
    return block, max(TILE // block, 1)


@triton.jit
def place(first, image, num_pixels, C: tl.constexpr, BLOCK: tl.constexpr, PIXELS: tl.constexpr):
    """Of a tile: its pixels' numbers in the batch, PIXELS; its channels, 1 x BLOCK; and which of both exist."""
    pixel = first + tl.arange(0, PIXELS)
    channel = tl.arange(0, BLOCK)[None, :]
    return image.to(tl.int64) * num_pixels + pixel, channel, pixel < num_pixels, channel < C


@triton.jit(do_not_specialize=["num_pixels"])
def gated_kernel(
    value, bias, y, gate, channel, pixel, out, num_pixels, C: tl.constexpr, BLOCK: tl.constexpr, PIXELS: tl.constexpr
):
    """Grid: tiles of an image, images."""
    image = tl.program_id(1)
    row, c, row_in, c_in = place(tl.program_id(0) * PIXELS, image, num_pixels, C, BLOCK, PIXELS)
    inside = row_in[:, None] & c_in
    v = tl.load(value + row[:, None] * C + c, inside, 0).to(tl.float32) + tl.load(bias + c, c_in, 0).to(tl.float32)
    x = tl.load(y + row[:, None] * C + c, inside, 0).to(tl.float32)
    by_gate = tl.load(gate + image * C + c, c_in, 0).to(tl.float32)
    by_channel = tl.load(channel + image * C + c, c_in, 0).to(tl.float32)
    by_pixel = tl.load(pixel + row, row_in, 0).to(tl.float32)[:, None]
    at = out + row[:, None] * (3 * C) + c
    tl.store(at, v * by_gate, inside)
    tl.store(at + C, x * by_channel, inside)
    tl.store(at + 2 * C, x * by_pixel, inside)


@triton.jit(do_not_specialize=["num_pixels"])
def gates_kernel(
    value, bias, y, gate, channel, pixel, grad, grad_value, grad_y, grad_pixel, sums, num_pixels,
    C: tl.constexpr, BLOCK: tl.constexpr, PIXELS: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    """Every SUMS-th tile of an image. The sums lie as images x SUMS x (gate, channel, bias) x C. Grid: SUMS, images.

    The bias's gradient still has to be multiplied by the gate.
    """
    image = tl.program_id(1)
    zero = tl.zeros((PIXELS, BLOCK), tl.float32)
    gate_sum, channel_sum, bias_sum = zero, zero, zero
    c = tl.arange(0, BLOCK)[None, :]
    shift = tl.load(bias + c, c < C, 0).to(tl.float32)
    by_gate = tl.load(gate + image * C + c, c < C, 0).to(tl.float32)
    by_channel = tl.load(channel + image * C + c, c < C, 0).to(tl.float32)
    first = tl.program_id(0) * PIXELS
    while first < num_pixels:
        row, _, row_in, c_in = place(first, image, num_pixels, C, BLOCK, PIXELS)
        inside = row_in[:, None] & c_in
        here = row[:, None] * C + c
        v = tl.load(value + here, inside, 0).to(tl.float32) + shift
        x = tl.load(y + here, inside, 0).to(tl.float32)
        by_pixel = tl.load(pixel + row, row_in, 0).to(tl.float32)[:, None]
        at = grad + row[:, None] * (3 * C) + c
        g1 = tl.load(at, inside, 0).to(tl.float32)
        g2 = tl.load(at + C, inside, 0).to(tl.float32)
        g3 = tl.load(at + 2 * C, inside, 0).to(tl.float32)
        tl.store(grad_value + here, g1 * by_gate, inside)
        tl.store(grad_y + here, g2 * by_channel + g3 * by_pixel, inside)
        tl.store(grad_pixel + row, tl.sum(g3 * x, 1), row_in)
        gate_sum += g1 * v
        channel_sum += g2 * x
        bias_sum += g1
        first += SUMS * PIXELS
    at = sums + (image * SUMS + tl.program_id(0)) * (3 * C) + tl.arange(0, BLOCK)
    inside = tl.arange(0, BLOCK) < C
    tl.store(at, tl.sum(gate_sum, 0), inside)
    tl.store(at + C, tl.sum(channel_sum, 0), inside)
    tl.store(at + 2 * C, tl.sum(bias_sum, 0), inside)
