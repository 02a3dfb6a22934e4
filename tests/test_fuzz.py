"""Damaged files: every one is read, or refused in one line; no traceback, no hang, no more than 2 GB.

`FUZZ_FILES=3000 python -m pytest tests/test_fuzz.py` tries that many, by other seeds than the first ones.
"""

import os

import numpy as np
import pytest

from datasets.images import image_size, read_image
from tests.battery import copy_of
from tests.mutations import mutate, mutate_archive, mutate_text
from tests.test_photos import KINDS
from tests.tiny_clip import make_encoder

FILES = int(os.environ.get("FUZZ_FILES", 80))
BEST = "checkpoints/small/best.pt"
ENCODER = ["text.encoder=local-dir:clip", "text.weights=clip/weights.pt"]
DAMAGED = {  # the file, how it is damaged, and the command that reads it
    "checkpoint": (BEST, mutate_archive, ["test.py"]),
    "start": (BEST, mutate_archive, ["train.py", f"model.init={BEST}", "run=new", "train.steps=1"]),
    "features": ("data/test/domains.npz", mutate_archive, ["test.py"]),
    "table": ("data/test/domains.csv", mutate_text, ["test.py"]),
    "encoder": ("clip/weights.pt", mutate_archive, ["clip_text.py", *ENCODER]),
    "image": ("data/test/hazy/0.png", mutate, ["test.py"]),
    "settings": ("small.yaml", mutate_text, ["train.py", "--dry-run"]),
}


@pytest.mark.parametrize("seed", range(FILES // len(DAMAGED)))
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_read_or_refused_in_one_line(scripts, tmp_path, finished, kind, seed):
    work = copy_of(finished, tmp_path / "work")
    if kind == "encoder":
        make_encoder(work / "clip", "vit")
    if kind == "table":
        (work / "data/test/domains.npz").unlink()
    name, damage, (script, *arguments) = DAMAGED[kind]
    rng = np.random.default_rng((list(DAMAGED).index(kind), seed))
    (work / name).write_bytes(damage((work / name).read_bytes(), rng))
    done = scripts(work, script, "small.yaml", *arguments, timeout=60, memory=2**31)
    assert not done.timed_out and done.max_memory < 2**31, done
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.code in (0, 2), done
    if done.code == 2:
        lines = [line for line in done.stderr.splitlines() if "validation" not in line and "resuming" not in line]
        assert len(lines) == 1 and lines[0].startswith(f"{script}: ") and len(lines[0]) < 1000, done.stderr


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
