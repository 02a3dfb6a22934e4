"""The classical baseline."""

import json

import numpy as np
import pytest

from benchmarks.dark_channel import dehaze, main
from datasets.synthetic import add_haze
from tests.made import make_pairs


def test_the_dark_channel_prior_recovers_what_its_assumptions_hold_for():
    rng = np.random.default_rng(0)
    clear = np.float32(rng.random((160, 160, 3)) ** 3)  # every patch has a pixel that is nearly black in some channel
    depth = np.linspace(3, 0, 160, dtype=np.float32)[:, None].repeat(160, 1)
    clear[:8, :8] = 0.9  # the airlight is seen
    hazy = add_haze(clear, depth, 0.8, 0.9)
    output = dehaze(hazy)
    assert np.abs(output - clear).mean() < 0.5 * np.abs(hazy - clear).mean()


def test_its_images_are_scored_in_the_projects_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_pairs(tmp_path / "set/test", ["0.png", "1.png"], size=(96, 96))
    (tmp_path / "own.yaml").write_text("data: {root: set, workers: 0}\ndevice: cpu")
    assert main(["own.yaml"]) == 0
    scores = json.loads((tmp_path / "results/own_dark_channel-test/metrics.json").read_text())
    assert scores["outputs"] == "dark_channel"
    assert scores["input"]["psnr"] == pytest.approx(15.5, abs=2)  # 0.5 J + 0.4 against J
    assert scores["psnr"] > 8  # images in the wrong range would be far below
