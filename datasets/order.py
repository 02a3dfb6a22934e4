"""The order of training samples: a function of seed and position alone, so that a run resumes exactly."""

from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler


class TrainingOrder(Sampler):
    """Yields, for each step and part of it, this process's share of the batch as a list of (image, position).

    A batch is `batch` consecutive positions of the sequence, for any number of processes and parts: process r of w
    takes the r-th of w equal runs of every part.
    """

    def __init__(self, num_images, batch, seed, first_step, last_step, rank=0, world=1, parts=1):
        self.num_images, self.batch, self.seed = num_images, batch, seed
        self.first_step, self.last_step = first_step, last_step
        self.rank, self.world, self.parts = rank, world, parts

    def __len__(self):
        return (self.last_step - self.first_step) * self.parts

    def __iter__(self):
        @lru_cache(1)
        def order(epoch):
            return np.random.default_rng((self.seed, 1, epoch)).permutation(self.num_images)

        share = self.batch // (self.world * self.parts)
        for step in range(self.first_step, self.last_step):
            for part in range(self.parts):
                start = step * self.batch + (part * self.world + self.rank) * share
                places = [(position, *divmod(position, self.num_images)) for position in range(start, start + share)]
                yield [(int(order(epoch)[place]), position) for position, epoch, place in places]


def same_size_batches(sizes, batch, rank=0, world=1):
    """This process's batches of images of one size each: lists of at most `batch` indices of `sizes`."""
    groups = {}
    for index, size in enumerate(sizes):
        groups.setdefault(tuple(size), []).append(index)
    batches = [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]
    return batches[rank::world]
