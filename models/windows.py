"""Means over a window around every pixel, at a cost that does not depend on the window's size.

A network that is trained on crops has its global means taken over a crop; on a whole photo they would be means of
something else. Windows of the crop's size give it when testing what it knows from training (test-time local
conversion, Chu et al., ECCV 2022). A window that would leave the frame is moved into it, so that no pixel is made up;
where the frame is smaller than the window, the mean is the frame's.

Sums are kept for cells of 4 x 4 pixels, windows end at the borders of cells, and between the places that they can have
the means are interpolated linearly. A frame may come in bands of rows.
"""

import torch
from torch.nn import functional as F

CELL = 4  # pixels


def cells(length):
    """The number of cells along a side of so many pixels."""
    return (length + CELL - 1) // CELL


def cell_sums(x, top=0):
    """Sums over the cells of rows that begin at `top` of the frame: B x C x H x W to B x C x h x w."""
    x = F.pad(x, (0, 0, top % CELL, 0)) if top % CELL else x
    return F.avg_pool2d(x, CELL, ceil_mode=True, divisor_override=1)


def window_sums(x, side):
    """Sums over every window of `side` pixels within the frame: B x C x h x w cells to B x C x h' x w' places.

    The last place is there twice: `at_pixels` looks one ahead, and torch.export needs to see that it is never one.
    """
    x = F.pad(x, (1, 0, 1, 0))  # sums begin at 0
    for dim in (2, 3):
        length = x.shape[dim] - 1
        last = torch.sym_max(length - cells(side), 0)
        size = length - last
        start = torch.arange(last + 2, device=x.device).clamp(max=last)
        x = x.cumsum(dim, dtype=torch.float64)
        x = x.index_select(dim, start + size).sub_(x.index_select(dim, start))
    return x


def at_pixels(places, rows, columns, height, width):
    """Interpolate what is known at the windows' places to the pixels of a rectangle.

    places: B x C x h' x w'. rows, columns: (first, last + 1) within the frame of height x width, or beyond it by less
    than its size: by reflection. Returns B x C x N x M.
    """
    for dim, span, length in ((2, rows, height), (3, columns, width)):
        pixel = torch.arange(*span, device=places.device).abs()
        pixel = torch.minimum(pixel, 2 * (length - 1) - pixel)
        last = places.shape[dim] - 2  # the one after it is the same
        size = cells(length) - last  # of a window, in cells
        position = ((pixel + 0.5) / CELL - size / 2).clamp(0, last).to(places.dtype)
        low = position.floor().long()
        share = (position - low).view(-1, *[1] * (3 - dim))
        places = torch.lerp(places.index_select(dim, low), places.index_select(dim, low + 1), share)
    return places
