"""The weights that come with the project."""

import hashlib

import numpy as np
import torch

from datasets.images import read_image, write_image
from datasets.synthetic import demo_pair
from models import build_model, network_of, start_from
from utils import checkpoint


def test_they_are_small_and_those_of_the_card_and_a_training_can_start_from_them():
    data = checkpoint.STARTER.read_bytes()
    assert len(data) < 2e6 and hashlib.sha256(data).hexdigest() in checkpoint.STARTER.with_suffix(".md").read_text()
    torch.load(checkpoint.STARTER, weights_only=True)
    starter = network_of(checkpoint.load("starter"))
    network = build_model(starter.size, text=-starter.text)
    start_from(network, starter)
    assert torch.equal(network.patch_embed.weight, starter.patch_embed.weight)


def test_without_a_checkpoint_a_photograph_is_dehazed_by_them(tmp_path, scripts):
    mse = {}
    for number in (1, 4):  # outdoor and indoor, of scenes kept out of the training
        _, _, hazy, clear = demo_pair("test", number)
        write_image(tmp_path / "in" / f"{number}.png", hazy)
        mse[f"{number}.png"] = [np.square(hazy - np.float32(clear)).mean(), clear]
    done = scripts(tmp_path, "predict.py", "--input", "in", "--output", "out")
    assert done.code == 0 and "trained on rendered scenes and five photographs" in done.stdout, done.stderr
    for name, (before, clear) in mse.items():
        assert np.square(read_image(tmp_path / "out" / name) - np.float32(clear)).mean() < before
