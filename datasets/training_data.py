"""The data of a training: pairs to learn from and pairs to validate on, each with its domain's probabilities."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .domains import Domains, open_domains, prob_of
from .pairs import Pairs, hold_out, open_split

NUM_ENDS = 1000  # files of each side whose last bytes a fingerprint takes in


@dataclass(frozen=True)
class LabelledPairs:
    """N pairs of one split. prob: N x K float32. domains: their text features, None for a network without fusion."""

    pairs: Pairs
    prob: np.ndarray
    domains: Domains | None

    def __len__(self):
        return len(self.pairs)

    def fingerprint(self):
        """What a resumed run recognises its data by: digests of names, labels and text, and of the images.

        Of these, all sizes and the last bytes of some, which hold a PNG's checksum: quick, and the same for a copy.
        """
        text = self.domains.text.tobytes() if self.domains else b""
        labels = hashlib.sha256("\n".join(self.pairs.names).encode() + self.prob.tobytes() + text)
        images = hashlib.sha256()
        for side in (self.pairs.hazy, self.pairs.clear):
            images.update(side.stamps[:, 0].tobytes())
            for i in range(0, len(side), len(side) // NUM_ENDS + 1):
                with open(side.path(i), "rb") as file:
                    file.seek(max(side.stamps[i, 0] - 4096, 0))
                    images.update(file.read())
        return f"{labels.hexdigest()} {images.hexdigest()}"


def open_parts(data, seed):
    """The Pairs to train on and those to validate on."""
    pairs = open_split(data, data.train)
    if isinstance(data.val, str):
        return pairs, open_split(data, data.test if data.val == "test-crop" else data.val)
    return [pairs.subset(indices) for indices in hold_out(pairs.names, data.val, seed)]


def count_training_pairs(data, seed):
    """The number of pairs to train on; None if the set is not there yet."""
    return len(open_parts(data, seed)[0]) if Path(data.folder).exists() else None


def open_training(config, identify):
    """The LabelledPairs to train on and those to validate on, whole and labelled as the settings ask, or ValueError.

    identify: from `text.weights` to what identifies the weights, a tag or "sha256:HEX".
    """
    labelled, text = [], config.text
    for part in open_parts(config.data, config.seed):
        domains, prob = None, np.zeros((len(part), 1), np.float32)
        if config.model.fusion != "none":
            domains = open_domains(part.folder, text, identify(text.weights))
            prob = prob_of(domains, part.names, text.labels, config.seed if text.shuffle else None)
        labelled.append(LabelledPairs(part, prob, domains))
    _ = labelled[1].pairs.sizes  # read the headers here, in one process: a mistake is reported once
    return labelled
