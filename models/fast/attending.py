"""What a block's attention half makes before its MLP, for inference, as one operation that reads every map once.

`attended(...)` equals, with y = scale * x + shift,

    torch.cat([depthwise3x3(value) * sigmoid(gate), sigmoid(channel) * y, sigmoid(pixel) * y], dim=1)

with reflect padding. In training these are four operations, as their gradients need what lies between (gating.py).
"""

import torch
from torch.nn import functional as F

from .padding import plain_pad
from .trial import Fused


def attended(value, above, x, kernel, affine, gates, pixel):
    """All maps on CUDA.

    value: B x C x H' x W, rows of a map of which `above` lie above those of x, and others below; x: B x C x H x W.
    kernel: C x 1 x 3 x 3 and C; affine: scale and shift, C x 1 x 1 each; gates: gate and channel, B x C x 1 x 1 each;
    pixel: B x 1 x H x W. Gates are before their sigmoid, and may be of a wider type. Returns B x 3C x H x W,
    channels_last.
    """
    value, x, pixel = (map.contiguous(memory_format=torch.channels_last) for map in (value, x, pixel))
    return ATTENDED(value, above, x, kernel, affine, gates, pixel)


def plain(value, above, x, kernel, affine, gates, pixel):
    rows = plain_pad(value, 1)[:, :, above : above + x.shape[2] + 2]
    value = F.conv2d(rows, *kernel, groups=x.shape[1])
    return side_by_side(value, x, affine, gates, pixel)


def side_by_side(value, x, affine, gates, pixel):
    """The same of a `value` that is convolved already."""
    scale, shift = affine
    gate, channel = (logits.sigmoid().to(x.dtype) for logits in gates)
    y = torch.addcmul(shift, x, scale)
    return torch.cat([value * gate, channel * y, pixel.sigmoid() * y], dim=1)


def example(random, channels):
    """Arguments for a trial: `value` begins a row above x and ends with it."""
    value, x, pixel = random(2, channels, 126, 131), random(2, channels, 125, 131), random(2, 1, 125, 131)
    kernel = [random(channels, 1, 3, 3), random(channels)]
    affine, gates = ([random(*shape) for _ in range(2)] for shape in ((channels, 1, 1), (2, channels, 1, 1)))
    return value, 1, x, kernel, affine, gates, pixel


ATTENDED = Fused(plain, "attending_triton", "attended", example)
