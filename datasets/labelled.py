"""The data of a training: pairs to learn from and pairs to validate on, each with its domain's probabilities."""

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .domains import Domains, open_domains, prob_of
from .known import training_pairs
from .pairs import Pairs, hold_out


@dataclass(frozen=True)
class LabelledPairs:
    """N pairs of one split. prob: N x K float32. domains: their text features, None for a network without fusion."""

    pairs: Pairs
    prob: np.ndarray
    domains: Domains | None

    def __len__(self):
        return len(self.pairs)

    def text_facts(self, labels):
        """`Domains.text_facts`, for a checkpoint; None without fusion."""
        return self.domains and self.domains.text_facts(labels)

    def fingerprint(self):
        """A text by which a resumed run knows its data again: names, probabilities, text features; then the images."""
        digest = hashlib.sha256("\n".join(self.pairs.names).encode() + self.prob.tobytes())
        digest.update(self.domains.text.tobytes() if self.domains else b"")
        return f"{digest.hexdigest()} {self.pairs.fingerprint()}"


def open_parts(data, seed):
    """The Pairs to train on and those to validate on."""
    pairs = Pairs(data.folder, data.train, data.max_pixels)
    if isinstance(data.val, str):
        split = data.test if data.val == "test-crop" else data.val
        return pairs, Pairs(data.folder, split, data.max_pixels)
    return [pairs.subset(indices) for indices in hold_out(pairs.names, data.val, seed)]


def count_training_pairs(data, seed):
    """How many pairs there are to train on; of a set that is not there yet, how many were published."""
    num = training_pairs(Path(data.folder).name) if data.root else data.scenes
    if Path(data.folder).exists() or not num:
        return len(open_parts(data, seed)[0])
    return num if isinstance(data.val, str) else num - math.ceil(data.val * num)


def open_training(config, identify):
    """The LabelledPairs to train on and those to validate on.

    config: all settings. identify: gives what tells the weights of `text.weights` apart.
    Raises ValueError where a set is not whole or not labelled as the settings ask.
    """
    parts = open_parts(config.data, config.seed)
    if config.model.fusion == "none":
        return [LabelledPairs(part, np.zeros((len(part), 1), np.float32), None) for part in parts]
    labelled = []
    for part in parts:
        domains = open_domains(part.folder, config.text, identify(config.text.weights))
        prob = prob_of(domains, part.names, config.text.labels, config.seed if config.text.shuffle else None)
        labelled.append(LabelledPairs(part, prob, replace(domains, names=(), prob=prob)))  # names need much memory
    return labelled


def validation_crop(config):
    """Pixels a side of the validation images' centre crops; None: whole images."""
    return config.train.crop if config.data.val == "test-crop" else config.data.val_crop
