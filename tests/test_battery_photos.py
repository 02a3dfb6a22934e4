"""The battery, predict.py, compare.py and export.py: what is wrong with photographs, results and places is named."""

import os
import shutil

import numpy as np
import pytest

from datasets.images import read_image, write_image
from tests.battery import accepted, refused, snapshot
from tests.test_battery_checkpoints import FAULTS
from tests.test_battery_data import bomb
from tests.test_photos import KINDS

BEST = "checkpoints/small/best.pt"
KEEP = ["--checkpoint", BEST, "--output", "out", "--domain", "indoor"]


@pytest.fixture
def photos(work):
    """A folder of two photographs beside the finished work."""
    for i in range(2):
        write_image(work / "in" / f"{i}.png", np.full((24, 32, 3), 99 * i, np.uint8))
    return work


ARGUMENTS = {
    "a file that is no image": (["--input", "small.yaml"], "small.yaml"),
    "no such weights of CLIP": (["--input", "in", "--domain", "auto", "--clip-weights", "none.pt"], "--domain indoor"),
    "no checkpoint": (["--input", "in", "--checkpoint", "none.pt"], "none.pt does not exist"),
    "an output that is a file": (["--input", "in", "--output", "small.yaml"], "small.yaml is a file"),
    "nothing to do": ([], "--help"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_with_a_fault_is_named(scripts, photos, name):
    arguments, says = ARGUMENTS[name]
    refused(scripts, photos, "predict.py", *KEEP, *arguments, says=says)


@pytest.mark.parametrize("name", ["cut off half-way", "an archive that runs code", "other things"])
def test_a_fault_in_the_checkpoint_stops_the_work_before_it_begins(scripts, photos, name):
    FAULTS[name][0](photos / BEST)
    refused(scripts, photos, "predict.py", *KEEP, "--input", "in", says="best.pt", memory=2**31, timeout=20)
    refused(scripts, photos, "export.py", "--checkpoint", BEST, "--output", "a.pt2", says="best.pt")
    assert not (photos / "fired").exists()


def test_every_kind_of_photograph_comes_back_or_is_named_in_a_line(scripts, photos):
    broken = {"a bomb": bomb(30_000, 30_000), "wide": bomb(2**31 - 1, 1), "no pixels": bomb(0, 0)}
    broken |= {kind: data for kind, (data, held) in KINDS.items() if isinstance(held, str)}
    for kind in ("PNG", "PNG, 16 bits", "WebP with alpha", "JPEG", "BMP", "TIFF, LZW"):
        broken[f"half {kind}"] = KINDS[kind][0][: len(KINDS[kind][0]) // 2]
    for kind, data in {**{kind: data for kind, (data, _) in KINDS.items()}, **broken}.items():
        (photos / "in" / f"{kind}.png").write_bytes(data)
    done = scripts(photos, "predict.py", *KEEP, "--input", "in", memory=2**31)
    lines = done.stderr.splitlines()
    assert done.code == 1 and len(lines) == len(broken), done.stderr
    for start, line in zip(sorted(f"predict.py: in/{kind}.png cannot" for kind in broken), sorted(lines), strict=True):
        assert line.startswith(start) and len(line) < 500
    whole = {f"{kind}.png" for kind in KINDS if kind not in broken} | {"0.png", "1.png"}
    assert {path.name for path in (photos / "out").iterdir()} == whole
    for name in whole:
        assert read_image(photos / "out" / name).shape == read_image(photos / "in" / name).shape


def test_a_photograph_of_any_name_comes_back_under_it_and_odd_things_are_passed_by(scripts, photos):
    names = ["ü.png", "a b.png", "a\nb.png", "-x.png", "%s{x}.png", "x" * 240 + ".png", "\udcff.png"]
    for name in names:
        shutil.copy(photos / "in/1.png", photos / "in" / name)
    (photos / "in/a.png").mkdir()
    (photos / "in/b.png").symlink_to("b.png")
    (photos / "in/c").symlink_to("..", target_is_directory=True)
    os.mkfifo(photos / "in/d.png")
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in/*.png")
    assert {path.name for path in (photos / "out").iterdir()} == {"0.png", "1.png", *names}


@pytest.mark.parametrize("change", [1, 2, 3, 5])  # the folder; a file aside, and in place; the second file aside
def test_a_kill_at_any_file_leaves_whole_photographs_or_none(scripts, photos, change):
    before = snapshot(photos)
    done = scripts(photos, "predict.py", *KEEP, "--input", "in", write=change, fault=9)
    assert done.code == -9, done
    assert set(before) <= set(snapshot(photos))
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in", "--overwrite", leftovers=True)
    assert {"0.png", "1.png"} <= {path.name for path in (photos / "out").iterdir()}


def test_damaged_results_are_named(scripts, work):
    shutil.copytree(work / "results/small-test", work / "results/other")
    (work / "results/other/metrics.json").write_text('{"psnr": 3')
    refused(scripts, work, "compare.py", "results/small-test", "results/other", says="results/other holds no results")
    shutil.copy(work / "results/small-test/metrics.json", work / "results/other/metrics.json")
    table = work / "results/other/results.csv"
    table.write_text(table.read_text().replace(",", ";"))  # as some spreadsheets save it
    says = "results/other/results.csv is not as test.py wrote it (KeyError"
    refused(scripts, work, "compare.py", "results/small-test", "results/other", says=says)
