"""What is made of pairs: samples for training, samples for validation and tests, another method's outputs."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from .augment import augment, centre_crop, thin
from .images import to_tensor
from .listing import list_folder
from .pairs import partners


class TrainingSamples(Dataset):
    """Augmented crops of pairs, fetched by (image, position): the same position always gives the same sample."""

    def __init__(
        self, pairs, prob, seed, crop, edge_decay=0.0, flip=True, rotate=False, haze_strength=None, unknown=0.0
    ):
        """prob: N x K, of the N pairs. haze_strength: as in `thin`; None: the haze stays. unknown: the share of samples
        whose domain is hidden: uniform probabilities. The rest as in `augment`."""
        self.pairs, self.prob, self.seed, self.haze_strength, self.unknown = pairs, prob, seed, haze_strength, unknown
        self.crop, self.edge_decay, self.flip, self.rotate = crop, edge_decay, flip, rotate

    def __getitem__(self, sample):
        """Returns hazy and clear (3 x crop x crop in [-1, 1]), prob (K) and name."""
        index, position = sample
        rng = np.random.default_rng((self.seed, 2, position))
        images = augment(self.pairs.read(index), rng, self.crop, self.edge_decay, self.flip, self.rotate)
        hazy, clear = map(to_tensor, images)
        prob = self.prob[index]
        return {
            "hazy": thin(hazy, clear, rng, self.haze_strength) if self.haze_strength else hazy,
            "clear": clear,
            "prob": np.full_like(prob, 1 / len(prob)) if rng.random() < self.unknown else prob,
            "name": self.pairs.names[index],
        }


class EvaluationSamples(Dataset):
    """Whole images, or their centre crops, fetched by index.

    sizes: (height, width) of every sample, a list. Raises ValueError as `Pairs.sizes`.
    """

    def __init__(self, pairs, prob, crop=None):
        self.pairs, self.prob, self.crop = pairs, prob, crop or 2**30
        self.sizes = np.minimum(pairs.sizes, self.crop).tolist()

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        """Returns hazy and clear (3 x H x W in [-1, 1]), prob (K) and index."""
        hazy, clear = (to_tensor(centre_crop(image, self.crop)) for image in self.pairs.read(index))
        return {"hazy": hazy, "clear": clear, "prob": self.prob[index], "index": index}


class Outputs(torch.nn.Module):
    """Another method's images for the pairs of a split, called like a network.

    Raises ValueError naming images that are missing, belong to no pair (see `match`), or differ in size.
    """

    def __init__(self, folder, pairs):
        super().__init__()
        if not Path(folder).is_dir():
            raise ValueError(f"test.outputs={folder} is not a folder")
        self.pairs = pairs.replaced(input=partners(pairs.hazy, list_folder(Path(folder))))
        _ = self.pairs.sizes  # read here, so that a mistake shows before any work

    def forward(self, hazy, index):
        """hazy: B x 3 x H x W. index: B x 1. Returns B x 3 x H x W in [-1, 1], the centre where hazy is the centre."""
        images = [self.pairs.read(i)[0] for i in index[:, 0].int().tolist()]
        return torch.stack([to_tensor(centre_crop(image, max(hazy.shape[2:]))) for image in images]).to(hazy)
