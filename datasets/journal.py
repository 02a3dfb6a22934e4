"""CLIP's probabilities of a split's images, kept batch by batch while they are labelled: <split>/domains.jsonl."""

import json
from pathlib import Path

import numpy as np


class Journal:
    """A file of lines: the first holds the settings that the rest was made with, the others a batch each.

    Drops a line that a kill cut off, and everything where the settings differ. Writes nothing before the first `add`.
    """

    def __init__(self, folder, made, name="domains.jsonl"):
        """made: the settings that decide the probabilities, of `domains.made_with`."""
        self.path = Path(folder) / name
        self.head = json.dumps(made, ensure_ascii=False).encode() + b"\n"
        self.rows, self.end = {}, 0
        self._read(len(made["classes"]))

    def _read(self, num_classes):
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        for number, line in enumerate(lines):
            if not line.endswith(b"\n") or (number == 0 and line != self.head):
                return
            if number > 0:
                try:
                    batch = json.loads(line)
                    prob = np.array(batch["prob"], np.float32).reshape(-1, num_classes)
                    stamps = [tuple(stamp) for stamp in batch["stamp"]]
                    rows = dict(zip(batch["name"], zip(stamps, prob, strict=True), strict=True))
                except (ValueError, TypeError, KeyError):
                    return
                if not np.isfinite(prob).all():
                    return
                self.rows |= rows
            self.end += len(line)

    def prob(self, name, stamp):
        """The K probabilities of an image; None when it was not encoded since its last change."""
        known, prob = self.rows.get(name, (None, None))
        return prob if known == stamp else None

    def add(self, names, stamps, prob):
        """Keep a batch. names: N. stamps: N x (size, time of modification). prob: N x K float32."""
        batch = {"name": names, "stamp": stamps, "prob": prob.tolist()}
        line = json.dumps(batch, ensure_ascii=False).encode() + b"\n"
        with open(self.path, "r+b" if self.end else "wb") as file:
            self.end = self.end or file.write(self.head)
            file.seek(self.end)
            file.truncate()
            self.end += file.write(line)
        self.rows |= dict(zip(names, zip(stamps, prob, strict=True), strict=True))
