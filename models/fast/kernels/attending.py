"""What a block's attention half makes before its MLP, for inference, as one operation that reads every map once.

In training these are four operations, as their gradients need what lies between (gated.py).
"""

import triton
from triton import language as tl

from .pad import LANES, channels_last, new_map, over_rows, place, reflect, vector


def attended(value, above, x, kernel, affine, gates, pixel):
    """With y = scale * x + shift and reflect padding, channels_last:

        torch.cat([depthwise3x3(value) * sigmoid(gate), sigmoid(channel) * y, sigmoid(pixel) * y], dim=1)

    value: B x C x H' x W, the rows of x with `above` more above them and the rest below. x: B x C x H x W.
    kernel: C x 1 x 3 x 3 and C; affine: scale and shift, C x 1 x 1 each; gates: gate and channel, B x C x 1 x 1 each;
    pixel: B x 1 x H x W. Gates are before their sigmoid, and may be of a wider type. Returns B x 3C x H x W.
    """
    value, x, pixel = map(channels_last, (value, x, pixel))
    batch, channels, height, width = x.shape
    out = new_map(x, (batch, 3 * channels, height, width))
    sizes = height, width, value.shape[2], above
    attended_kernel[over_rows(x)](
        value, x, *kernel, *affine, *gates, pixel, out, *sizes, channels, vector(channels), LANES
    )
    return out


@triton.jit(do_not_specialize=["height", "width", "value_height", "above"])
def attended_kernel(
    value, x, weight, bias, scale, shift, gate, channel_gate, pixel, out, height, width, value_height, above,
    C: tl.constexpr, VECTOR: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """A pixel's nine neighbours come from the cache, so every map is read once. Grid: `over_rows` of x."""
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
