"""Damaged files: every one is read, or refused in one line.

`FUZZ_FILES=3000 python -m pytest tests/test_fuzz.py` tries that many, by other seeds than the first ones.
"""

import os

import numpy as np
import pytest

from datasets.domains import load_domains, read_labels
from datasets.images import image_size, read_image
from models import network_of
from tests.mutations import mutate, mutate_archive, mutate_text
from tests.test_photos import KINDS
from utils import checkpoint
from utils.config import load_config

FILES = int(os.environ.get("FUZZ_FILES", 80))


def open_network(path):
    with checkpoint.naming(path):
        network_of(checkpoint.load(path))


DAMAGED = {  # the file, how it is damaged, and what reads it
    "checkpoints/small/best.pt": (mutate_archive, open_network),
    "data/test/domains.npz": (mutate_archive, lambda path: load_domains(path.parent)),
    "data/test/domains.csv": (mutate_text, lambda path: read_labels(path.parent, ("indoor", "outdoor"))),
    "small.yaml": (mutate_text, load_config),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_read_or_refused_in_one_line(work, name):
    damage, read = DAMAGED[name]
    whole = (work / name).read_bytes()
    for seed in range(FILES // 4):
        (work / name).write_bytes(damage(whole, np.random.default_rng(seed)))
        try:
            read(work / name)
        except (ValueError, OSError) as error:
            assert len(str(error)) < 1000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_image_is_read_at_its_size_or_refused(tmp_path, capfd, kind):
    path = tmp_path / "a.png"
    for seed in range(FILES // 4):
        path.write_bytes(mutate(KINDS[kind][0] or b"a", np.random.default_rng(seed)))
        try:
            assert image_size(path, 10**7) == read_image(path).shape[:2]
        except ValueError as error:
            assert str(error).startswith(f"{path} cannot be read: ") and "\n" not in str(error)
    assert capfd.readouterr().err == ""
