"""Raw releases become data sets."""

import numpy as np
import pytest

from datasets.images import read_image, write_image
from datasets.pairs import Pairs
from datasets.raw_layout import lay_out
from tests.battery import accepted, refused, snapshot

NTIRE = [f"{number:02}" for number in range(1, 8)]
LAYOUTS = {  # of a raw tree: its files by pairs, and the hazy images of each split
    "ITS": ([("hazy/1_1_0.90179.png", "clear/1.png"), ("hazy/1_10_1.png", "clear/1.png")], {"train": 2}),
    "OTS": ([("haze/OTS/0025_0.8_0.1.jpg", "clear/clear_images/0025.jpg")], {"train": 1}),
    "SOTS": (
        [
            ("indoor/nyuhaze500/hazy/1400_1.png", "indoor/nyuhaze500/gt/1400.png"),
            ("outdoor/hazy/0001_0.8_0.2.jpg", "outdoor/gt/0001.png"),
        ],
        {"test": 2},
    ),
    "O-HAZE": ([(f"hazy/{n}_outdoor_hazy.jpg", f"GT/{n}_outdoor_GT.jpg") for n in NTIRE], {"train": 2, "test": 5}),
    "NH-HAZE": ([(f"{n}_hazy.png", f"{n}_GT.png") for n in NTIRE], {"train": 2, "test": 5}),
    "Haze4K": (
        [(f"{split}/IN/1_0.8_1.2.png", f"{split}/GT/1.png") for split in ("train", "test")],
        {"train": 1, "test": 1},
    ),
    "any": (
        [("a/b/haze/x.png", "a/b/target/x.png"), ("test/input/y.jpg", "test/clear/y.png")],
        {"train": 1, "test": 1},
    ),
}


def make(raw, pairs):
    """Write pairs of colours that tell them apart; SOTS indoor's clear images have their border."""
    scenes = sorted({clear for _, clear in pairs})
    for hazy, clear in pairs:
        edge = 10 if "nyuhaze500" in clear else 0
        for name, level, border in ((hazy, 90, 0), (clear, 10, edge)):
            image = np.full((16, 20, 3), level + 8 * scenes.index(clear), np.uint8)
            sides = (border, border)
            write_image(raw / name, np.pad(image, (sides, sides, (0, 0)), constant_values=255))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_raw_layout_becomes_pairs_and_stays_as_it_was(tmp_path, name):
    files, splits = LAYOUTS[name]
    make(tmp_path / "raw" / name, files)
    before = snapshot(tmp_path / "raw")
    lay_out([tmp_path / "raw" / name], tmp_path / "set")
    assert snapshot(tmp_path / "raw") == before

    found = {}
    for split, number in splits.items():
        pairs = Pairs(tmp_path / "set", split)
        assert len(pairs) == number and {path.name for path in (tmp_path / "set").iterdir()} == set(splits)
        for i in range(number):
            hazy, clear = (int(image[8, 8].mean()) for image in pairs.read(i))
            assert abs(hazy - clear - 80) <= 1
            found[pairs.names[i]] = pairs.hazy.path(i).is_symlink()
    assert found == {hazy.split("/")[-1]: True for hazy, _ in files}


def test_several_archives_become_one_set_and_a_known_border_is_cropped(tmp_path, scripts):
    for name in ("ITS", "SOTS"):
        make(tmp_path / "raw" / name, LAYOUTS[name][0])
    done = accepted(scripts, tmp_path, "check_data.py", "--from", "raw/ITS", "raw/SOTS", "--to", "set")
    assert "train: 2 pairs" in done.stdout and "1 clear images written without" in done.stdout
    assert read_image(tmp_path / "set" / "test" / "GT" / "1400_1.png").shape == (16, 20, 3)
    refused(scripts, tmp_path, "check_data.py", "--from", "raw/ITS", "--to", "set", says="--to set is not empty")


def test_an_unknown_tree_is_refused(tmp_path, scripts):
    make(tmp_path / "raw", [("foggy/1.png", "sharp/1.png")])
    refused(scripts, tmp_path, "check_data.py", "--from", "raw", "--to", "set", says=("no pairs", "hazy, haze, input"))


def test_two_images_for_one_name_are_refused(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name, [("hazy/1.png", "gt/1.png")])
    with pytest.raises(ValueError, match="would both become .*train/hazy/1.png"):
        lay_out([tmp_path / "a", tmp_path / "b"], tmp_path / "set")
    assert not (tmp_path / "set").exists()
