"""Checkpoint files: written whole or not at all, read safely."""

import os
import resource

import pytest
import torch
from safetensors.torch import save_file

from utils import checkpoint


def test_a_checkpoint_comes_back(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path / "last.pt", {"step": step, "weight": torch.full((3,), step)})
    assert checkpoint.load(tmp_path / "last.pt")["weight"].tolist() == [2, 2, 2]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["format"] == checkpoint.FORMAT
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large: .*last.pt"):
            checkpoint.save(path, {"step": 2, "weight": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert checkpoint.load(path)["step"] == 1
    assert os.listdir(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("facts", ["{", "[1]"])
def test_a_safetensors_file_whose_metadata_are_odd_is_named(tmp_path, facts):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a.safetensors", {checkpoint.METADATA: facts})
    with pytest.raises(ValueError, match="a.safetensors is not a checkpoint, is damaged"):
        checkpoint.load(tmp_path / "a.safetensors")
