"""Damaged files: every one is read, or refused in one line; no traceback, no more than 10 s or 2 GB.

`FUZZ_FILES=3000 python -m pytest tests/test_fuzz.py` tries that many, by other seeds than the first ones.
"""

import os
import shutil

import cv2
import numpy as np
import pytest
import torch

from tests.battery import copy_of
from tests.mutations import mutate, mutate_archive, mutate_text
from tests.tiny_clip import make_encoder

FILES = int(os.environ.get("FUZZ_FILES", 320))
SECONDS, BYTES = 10, 2**31
ENDINGS = (".png", ".jpg", ".bmp", ".tif", ".webp", ".png16")

# kind -> share of the files, how they are damaged
KINDS = {
    "checkpoint": (0.2, mutate_archive),
    "old checkpoint": (0.05, mutate),
    "last checkpoint": (0.1, mutate_archive),
    "start": (0.05, mutate_archive),
    "features": (0.1, mutate_archive),
    "table": (0.15, mutate_text),
    "encoder": (0.05, mutate_archive),
    "image": (0.2, mutate),
    "settings": (0.1, mutate_text),
}
ENCODER = ["text.encoder=local-dir:clip", "text.weights=clip/weights.pt"]
CASES = [(kind, seed) for kind, (share, _) in KINDS.items() for seed in range(round(share * FILES))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, finished):
    """The finished work, and the weights of an encoder."""
    folder = copy_of(finished, tmp_path_factory.mktemp("whole"))
    make_encoder(folder / "clip", "vit")
    return folder


@pytest.fixture
def work(tmp_path, whole):
    """A copy in which a file can be damaged."""
    yield copy_of(whole, tmp_path / "work")
    shutil.rmtree(tmp_path / "work")


def target(work, kind, seed):
    """The file to damage, and the command that reads it."""
    best, test = work / "checkpoints/small/best.pt", work / "data/test"
    if kind == "old checkpoint":
        torch.save(torch.load(best), best, _use_new_zipfile_serialization=False)
    if kind == "table":
        (test / "domains.npz").unlink()
    if kind == "image":
        ending = ENDINGS[seed % len(ENDINGS)]
        image = cv2.imread(str(test / "hazy/0.png"))
        image = image.astype(np.uint16) * 257 if ending == ".png16" else image
        for side in ("hazy", "GT"):
            (test / side / "0.png").write_bytes(cv2.imencode(ending[:4] if "16" in ending else ending, image)[1])
    return {
        "checkpoint": (best, ["test.py"]),
        "old checkpoint": (best, ["test.py"]),
        "last checkpoint": (work / "checkpoints/small/last.pt", ["train.py"]),
        "start": (best, ["train.py", f"model.init={best}", "run=new", "train.steps=1"]),
        "features": (test / "domains.npz", ["test.py"]),
        "table": (test / "domains.csv", ["test.py"]),
        "encoder": (work / "clip/weights.pt", ["clip_text.py", *ENCODER]),
        "image": (test / "hazy/0.png", ["test.py"]),
        "settings": (work / "small.yaml", ["train.py", "--dry-run"]),
    }[kind]


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_a_damaged_file_is_read_or_refused_in_one_line(scripts, work, kind, seed):
    path, (script, *arguments) = target(work, kind, seed)
    rng = np.random.default_rng((list(KINDS).index(kind), seed))
    path.write_bytes(KINDS[kind][1](path.read_bytes(), rng))
    done = scripts(work, script, "small.yaml", *arguments, timeout=SECONDS, memory=BYTES)
    assert not done.timed_out and done.max_memory < BYTES, done
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.code in (0, 2), done
    if done.code == 2:
        lines = [line for line in done.stderr.splitlines() if "validation" not in line and "resuming" not in line]
        assert len(lines) == 1 and lines[0].startswith(f"{script}: ") and len(lines[0]) < 1000, done.stderr
