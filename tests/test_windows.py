"""Means over windows: what they are, in one piece and in bands."""

import pytest
import torch
from torch.nn import functional as F

from models import build_model, describe, restore
from models.fusion import CalipFusion
from models.windows import CELL, between_places, cell_sums, join_cells, window_sums

torch.manual_seed(0)
TEXT = F.normalize(torch.randn(2, 64, dtype=torch.float64), dim=1)
PROB = torch.tensor([[0.3, 0.7], [1.0, 0.0]], dtype=torch.float64)
IMAGE = torch.rand(2, 3, 24, 41, dtype=torch.float64) * 2 - 1


def literal(x, side):
    """The mean of B x C x H x W over the window around every pixel, window by window."""
    height, width = x.shape[2:]
    size = [min(-(-side // CELL), -(-length // CELL)) for length in (height, width)]
    tops, lefts = (range(-(-length // CELL) - num + 1) for length, num in zip((height, width), size, strict=True))

    def window_mean(top, left):
        return x[:, :, CELL * top : CELL * (top + size[0]), CELL * left : CELL * (left + size[1])].mean((2, 3))

    means = torch.stack([torch.stack([window_mean(top, left) for left in lefts], dim=2) for top in tops], dim=2)
    out = torch.empty_like(x)
    for row in range(height):
        for column in range(width):
            # the window is centred where the pixel is, or as near to it as the frame allows
            y, z = (
                min(max((pixel + 0.5) / CELL - num / 2, 0), len(starts) - 1)
                for pixel, num, starts in ((row, size[0], tops), (column, size[1], lefts))
            )
            value = 0
            for i, share in ((int(y), 1 - y % 1), (min(int(y) + 1, len(tops) - 1), y % 1)):
                for j, part in ((int(z), 1 - z % 1), (min(int(z) + 1, len(lefts) - 1), z % 1)):
                    value = value + share * part * means[:, :, i, j]
            out[:, :, row, column] = value
    return out


def mean(x, side):
    height, width = x.shape[2:]
    places = window_sums(cell_sums(x), side) / window_sums(cell_sums(torch.ones_like(x)), side)
    return between_places(between_places(places, 3, width), 2, height)


@pytest.mark.parametrize("side", [4, 13, 20, 1000])
@pytest.mark.parametrize("shape", [(24, 41), (1, 1), (3, 50)])
def test_a_mean_is_that_of_the_window_around_the_pixel(shape, side):
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    assert torch.allclose(mean(x, side), literal(x, side))
    assert torch.allclose(mean(torch.ones_like(x), side), torch.ones_like(x))


@pytest.mark.parametrize("rows", [1, 3, 4, 40])
def test_bands_of_rows_give_the_frames_cells(rows):
    x = torch.randn(2, 3, 33, 18, dtype=torch.float64)
    parts = [(top, cell_sums(x[:, :, top : top + rows], top)) for top in range(0, 33, rows)]
    assert torch.allclose(join_cells(parts, 33), cell_sums(x))


def test_calip_takes_its_image_side_from_windows_when_it_is_evaluated():
    fusion = CalipFusion(64, channels=8, window=16).double()
    trained = fusion(IMAGE, TEXT, PROB)
    found = fusion.eval()(IMAGE, TEXT, PROB)
    pixels, classes = fusion.image_embed(IMAGE), fusion.text_embed(TEXT)
    attention = F.conv2d(F.normalize(pixels, dim=1), 2 * F.normalize(classes, dim=1)[:, :, None, None]).exp()

    def sums(x):  # a ratio of means over windows at the places, then interpolated: as `literal` does for the mean
        return window_sums(cell_sums(x), 16)

    places = sum(
        PROB[:, k, None, None, None] * sums(attention[:, k : k + 1] * pixels) / sums(attention[:, k : k + 1])
        for k in range(2)
    )
    assert torch.allclose(found[:, 8:], between_places(between_places(places, 3, 41), 2, 24))
    assert torch.equal(found[:, :8], trained[:, :8]) and (found[:, 8:] - trained[:, 8:]).abs().max() > 0.01
    assert trained[:, 8:].flatten(2).std(2).max() < 1e-12  # constant over the frame in training
    fusion.window = 48
    assert torch.allclose(fusion(IMAGE, TEXT, PROB), trained)  # a window of the frame's size and more


def test_a_checkpoint_keeps_the_window_and_older_ones_have_none():
    network = build_model("n", "calip", text=TEXT, window=30)
    description = describe(network)
    assert restore(description).fusion.window == description["window"] == 40  # what a crop of 30 is extended to
    del description["window"]
    assert restore(description).fusion.window is None
    assert describe(build_model("n", "none"))["window"] is describe(build_model("n", "parametric", text=TEXT))["window"]
    with pytest.raises(ValueError, match="window must be a number of pixels or None, got 'a'"):
        restore({**description, "window": "a"})
