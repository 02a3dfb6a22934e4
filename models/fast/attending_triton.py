"""The Triton kernel of `attending`: a pixel's nine neighbours come from the cache, so every map is read once.

Lanes and the arithmetic of rows are those of padding_triton.py.
"""

import torch
import triton
from triton import language as tl

from .padding_triton import LANES, over_rows, place, reflect, vector


def attended(value, above, x, kernel, affine, gates, pixel):
    """As attending.plain, for channels_last maps."""
    batch, channels, height, width = x.shape
    out = torch.empty(batch, height, width, 3 * channels, dtype=x.dtype, device=x.device).permute(0, 3, 1, 2)
    sizes = height, width, value.shape[2], above
    attended_kernel[over_rows(x)](
        value, x, *kernel, *affine, *gates, pixel, out, *sizes, channels, vector(channels), LANES
    )
    return out


@triton.jit(do_not_specialize=["height", "width", "value_height", "above"])
def attended_kernel(
    value,
    x,
    weight,
    bias,
    scale,
    shift,
    gate,
    channel_gate,
    pixel,
    out,
    height,
    width,
    value_height,
    above,
    C: tl.constexpr,
    VECTOR: tl.constexpr,
    LANES: tl.constexpr,
):
    """Grid: `over_rows` of x."""
    row, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    column, channel = place(tl.program_id(1), C, VECTOR, LANES)
    inside = (column < width)[:, None]

    total = tl.zeros((LANES, VECTOR), tl.float32) + tl.load(bias + channel).to(tl.float32)
    for i in tl.static_range(3):
        source_row = value + (image * value_height + reflect(row + above + i - 1, value_height)) * width * C
        for j in tl.static_range(3):
            source = reflect(column + j - 1, width)[:, None] * C + channel
            tap = tl.load(weight + channel * 9 + i * 3 + j).to(tl.float32)
            total += tl.load(source_row + source).to(tl.float32) * tap

    here = (image * height + row) * width
    y = tl.load(x + here * C + column[:, None] * C + channel, mask=inside, other=0.0).to(tl.float32)
    y = y * tl.load(scale + channel).to(tl.float32) + tl.load(shift + channel).to(tl.float32)
    by_gate = tl.sigmoid(tl.load(gate + image * C + channel).to(tl.float32))
    by_channel = tl.sigmoid(tl.load(channel_gate + image * C + channel).to(tl.float32))
    by_pixel = tl.sigmoid(tl.load(pixel + here + column, mask=column < width, other=0.0).to(tl.float32))[:, None]

    target = out + here * (3 * C) + column[:, None] * (3 * C) + channel
    tl.store(target, (total * by_gate).to(out.dtype.element_ty), mask=inside)
    tl.store(target + C, (y * by_channel).to(out.dtype.element_ty), mask=inside)
    tl.store(target + 2 * C, (y * by_pixel).to(out.dtype.element_ty), mask=inside)
