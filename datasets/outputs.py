"""Another method's dehazed images for a split, in the place of a network's outputs."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from .augment import centre_crop
from .images import read_image, to_tensor
from .listing import list_folder, read_sizes
from .pairs import partners


class Outputs(nn.Module):
    """The images of a folder for the pairs of a split, as a module that is called like a network.

    Raises ValueError naming images that are missing, belong to no pair (see `match`), or differ in size.
    """

    def __init__(self, folder, pairs, max_pixels):
        super().__init__()
        if not Path(folder).is_dir():
            raise ValueError(f"test.outputs={folder} is not a folder")
        self.listing = partners(pairs.hazy, list_folder(Path(folder)))
        sizes = read_sizes(self.listing, max_pixels)
        unequal = np.flatnonzero((sizes != pairs.sizes).any(1))
        if len(unequal):
            (height, width), (h, w) = pairs.sizes[unequal[0]], sizes[unequal[0]]
            raise ValueError(
                f"{self.listing.path(unequal[0])} is {w} x {h} pixels, the hazy image {width} x {height}: resize it "
                f"({len(unequal)} such images)"
            )

    def forward(self, hazy, index):
        """hazy: B x 3 x H x W. index: B x 1. Returns B x 3 x H x W in [-1, 1], the centre where hazy is the centre."""
        images = [read_image(self.listing.path(i)) for i in index[:, 0].int().tolist()]
        crop = max(hazy.shape[2:])
        return torch.stack([to_tensor(centre_crop(image, crop)) for image in images]).to(hazy)
