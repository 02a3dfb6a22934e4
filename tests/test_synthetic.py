"""Haze and the demo's scenes."""

import numpy as np
import pytest

from datasets.demo import develop
from datasets.demo.haze import open_haze, room_haze, smoke
from datasets.demo.outdoors import landscape, street
from datasets.demo.photographs import photograph
from datasets.demo.rooms import room
from datasets.demo.skyless import garden, town
from datasets.domains import read_labels
from datasets.pairs import open_split
from datasets.synthetic import add_haze, demo_pair
from utils.settings import Data


def test_haze_is_the_scattering_model():
    rng = np.random.default_rng(0)
    clear, depth, airlight = rng.random((4, 5, 3)), rng.uniform(0, 9, (4, 5)), np.array([0.8, 0.9, 1.0])
    hazy = add_haze(clear, depth, 0.4, airlight)
    for row, column, channel in np.ndindex(clear.shape):
        t = np.exp(-0.4 * depth[row, column])
        expected = clear[row, column, channel] * t + airlight[channel] * (1 - t)
        assert hazy[row, column, channel] == pytest.approx(expected, abs=1e-6)
    assert np.allclose(add_haze(clear, depth, 0, 0.7), clear)
    assert np.allclose(add_haze(clear, depth + 1e4, 1, 0.7), 0.7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": np.zeros((4, 6))}, "clear must be H x W x 3 and depth H x W"),
        ({"clear": np.full((4, 5, 3), 255.0)}, r"clear and airlight must be in \[0, 1\]"),
        ({"beta": -1}, "beta and depth at least 0"),
        ({"depth": np.full((4, 5), np.nan)}, "beta and depth at least 0"),
    ],
)
def test_haze_refuses_what_does_not_fit(change, message):
    good = {"clear": np.zeros((4, 5, 3)), "depth": np.ones((4, 5)), "beta": 1.0, "airlight": 0.9}
    with pytest.raises(ValueError, match=message):
        add_haze(**good | change)


@pytest.mark.parametrize(
    ("scene", "near", "far"),
    [
        (room, 0.2, 20),
        (street, 0.5, 600),
        (landscape, 0.5, 6000),
        (town, 4, 3000),
        (garden, 0.2, 50),
        (photograph, 0.4, 200),
    ],
)
def test_scenes_have_colours_in_range_and_depth_in_metres(scene, near, far):
    clear, depth = scene(np.random.default_rng(1), (48, 64))
    assert clear.shape == (48, 64, 3) and depth.shape == (48, 64)
    assert 0 <= clear.min() and clear.max() <= 1 and clear.std() > 0.05
    assert near <= depth.min() < depth.max() <= far


def test_the_demo_is_a_function_of_seed_split_and_number():
    first, again = demo_pair("train", 3), demo_pair("train", 3)
    assert first[:2] == again[:2] and all(np.array_equal(a, b) for a, b in zip(first[2:], again[2:], strict=True))
    for other in (demo_pair("test", 3), demo_pair("train", 5), demo_pair("train", 3, seed=1)):
        assert not np.array_equal(first[3], other[3])


def test_a_camera_stretches_the_levels_and_sets_the_brightness():
    scene = np.random.default_rng(0).random((48, 64, 3)) * 0.4 + 0.3
    ranges = {"black": (1, 1), "saturation": (1, 1), "warmth": (0, 0), "balance": 0}
    dark, bright = (develop(np.random.default_rng(1), scene, mean=(mean, mean), **ranges) for mean in (0.3, 0.5))
    assert dark.mean() < bright.mean() - 0.05 and dark.min() < 0.02


@pytest.mark.parametrize(
    ("haze", "darkest", "tint"), [(room_haze, 0.4, 0.2), (open_haze, 0.55, 0.1), (smoke, 0.3, 0.6)]
)
def test_haze_is_as_strong_as_real_haze_and_smoke_is_bluish(haze, darkest, tint):
    rng = np.random.default_rng(0)
    hazes = [haze(rng, np.float32(rng.uniform(1, 200, (40, 40)))) for _ in range(100)]
    strength = [1 - np.exp(-optical_depth).mean() for optical_depth, _, _ in hazes]
    assert 0.1 < np.median(strength) < 0.6 and min(strength) == 0 and np.min([depth for depth, _, _ in hazes]) >= 0
    blue = [np.log(airlight[2] / airlight[0]) for _, airlight, _ in hazes]
    assert all(darkest < airlight.min() for _, airlight, _ in hazes) and np.abs(blue).max() < tint
    assert np.mean(blue) > 0.05 if haze is smoke else abs(np.mean(blue)) < 0.06


def test_scenes_are_rendered_where_no_data_set_is_named_and_an_interrupted_rendering_is_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.synthetic.NUM_TEST", 2)
    data = Data(scenes=3)
    pairs = open_split(data, "train")
    assert len(pairs) == 3 and len(open_split(data, "test")) == 2
    assert list(read_labels(pairs.folder, ("indoor", "outdoor")).values()) == ["indoor", "outdoor", "indoor"]
    before = pairs.hazy.path(0).read_bytes()
    for path in (pairs.hazy.path(0), pairs.clear.path(0)):
        path.unlink()
    assert len(open_split(data, "train")) == 2  # domains.csv says that the split is whole
    (pairs.folder / "domains.csv").unlink()
    assert len(open_split(data, "train")) == 3 and pairs.hazy.path(0).read_bytes() == before
