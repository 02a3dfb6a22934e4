"""Another method's dehazed images for a split, in the place of a network's outputs."""

from collections import Counter
from pathlib import Path

import torch
from torch import nn

from .augment import centre_crop
from .images import read_image, to_tensor
from .listing import list_folder, sizes_of


class Outputs(nn.Module):
    """The images of a folder for the pairs of a split, as a module that is called like a network.

    A file has the hazy image's name, that name with another ending, or that name and an ending after it.
    Raises ValueError naming images that are missing, belong to no pair, or differ in size from the hazy ones.
    """

    def __init__(self, folder, pairs, max_pixels):
        super().__init__()
        if not Path(folder).is_dir():
            raise ValueError(f"test.outputs={folder} is not a folder")
        found = list_folder(Path(folder))
        partners = find_outputs(pairs.names, found.all_names())
        missing = [name for name, partner in zip(pairs.names, partners, strict=True) if partner is None]
        extra = sorted(set(range(len(found))) - set(partners))
        if missing:
            raise ValueError(
                f"test.outputs={folder} lacks {len(missing)} of {len(pairs)} images, first {missing[0]}: name them "
                "as the hazy ones"
            )
        if extra:
            raise ValueError(
                f"test.outputs={folder} holds {len(extra)} images of no hazy image, first {found.name(extra[0])}: move "
                "them away"
            )
        self.listing = found.take(partners)
        sizes = sizes_of(self.listing, max_pixels)
        unequal = (sizes != pairs.sizes).any(1).nonzero()[0]
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


def find_outputs(names, files):
    """For each image's name the index of its file among `files`; None where there is none."""
    stems, by_name = Counter(Path(name).stem for name in names), {}
    for i, file in enumerate(files):
        by_name.setdefault(Path(file).stem, i)
    by_name |= {file: i for i, file in enumerate(files)}
    keys = ([name, Path(name).stem] if stems[Path(name).stem] == 1 else [name] for name in names)
    return [next((by_name[key] for key in pair if key in by_name), None) for pair in keys]
