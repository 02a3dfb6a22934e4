"""The classical baseline."""

import numpy as np

from benchmarks.dark_channel import dehaze
from datasets.synthetic import add_haze


def test_the_dark_channel_prior_recovers_what_its_assumptions_hold_for():
    rng = np.random.default_rng(0)
    clear = np.float32(rng.random((160, 160, 3)) ** 3)  # every patch has a pixel that is nearly black in some channel
    depth = np.linspace(3, 0, 160, dtype=np.float32)[:, None].repeat(160, 1)
    clear[:8, :8] = 0.9  # the airlight is seen
    hazy = add_haze(clear, depth, 0.8, 0.9)
    output = dehaze(hazy)
    assert np.abs(output - clear).mean() < 0.5 * np.abs(hazy - clear).mean()
