"""Means over a window around every pixel, at a cost that does not depend on the window's size.

A network trained on crops takes its global means over a crop; over a whole photo they would be different statistics.
At test time, windows of the crop's size restore the ones it knows (test-time local conversion, Chu et al., ECCV 2022).
A window that would leave the frame is moved into it; where the frame is smaller, the window is the frame.

Pixels are summed in 4 x 4 cells, windows snap to cells, and means are interpolated linearly between window positions
("places"). A window's sum is a difference of cumulative sums (summed-area tables, Crow, SIGGRAPH 1984).
"""

import torch
from torch.nn import functional as F

CELL = 4  # pixels


def cells(length):
    """The number of cells along a side of `length` pixels."""
    return (length + CELL - 1) // CELL


def cell_sums(x, top=0):
    """Sum B x C x H x W over cells; x begins at row `top` of the frame. Returns B x C x h x w."""
    x = F.pad(x, (0, 0, top % CELL, 0)) if top % CELL else x
    return F.avg_pool2d(x, CELL, ceil_mode=True, divisor_override=1)


def join_cells(parts, height):
    """The cells of a frame of `height` pixels, from pairs (top, cell_sums of a band); bands may share cells."""
    frame = parts[0][1].new_zeros(*parts[0][1].shape[:2], cells(height), parts[0][1].shape[3])
    for top, part in parts:
        frame[:, :, top // CELL :][:, :, : part.shape[2]] += part
    return frame


def window_sums(x, side):
    """Sum every window of `side` pixels within the frame: B x C x h x w cells to B x C x h' x w' places."""
    # The last place appears twice: `between_places` reads one ahead, and torch.export must see that there are two.
    x = F.pad(x, (1, 0, 1, 0))  # cumulative sums begin at 0
    for dim in (2, 3):
        length = x.shape[dim] - 1
        last = torch.sym_max(length - cells(side), 0)
        size = length - last
        start = torch.arange(last + 2, device=x.device).clamp(max=last)
        x = x.cumsum(dim, dtype=torch.float64)  # float32 would lose digits in the differences
        x = x.index_select(dim, start + size).sub_(x.index_select(dim, start))
    return x


def between_places(places, dim, length, span=None):
    """Interpolate from places to the pixels span = (first, last + 1) of dimension `dim` of a frame, `length` long."""
    last = places.shape[dim] - 2
    size = cells(length) - last  # of a window, in cells
    centre = (torch.arange(*(span or (0, length)), device=places.device) + 0.5) / CELL
    position = (centre - size / 2).clamp(0, last).to(places.dtype)
    low = position.floor().long()
    share = (position - low).view(-1, *[1] * (3 - dim))
    return torch.lerp(places.index_select(dim, low), places.index_select(dim, low + 1), share)
