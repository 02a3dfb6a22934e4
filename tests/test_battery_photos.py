"""The battery, predict.py, compare.py and export.py: what is wrong with photographs, results and places is named."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from datasets.images import write_image
from tests.battery import accepted, is_one_line, refused, snapshot
from tests.test_battery_checkpoints import FAULTS
from tests.test_battery_data import ENDINGS, KINDS, bomb, encoded

BEST = "checkpoints/small/best.pt"
KEEP = ["--checkpoint", BEST, "--output", "out", "--domain", "indoor"]
CHANGES = 6  # the output's folder, and a file aside and in place for each of the two photographs, made in their turn


@pytest.fixture
def photos(work):
    """A folder of two photographs beside the finished work."""
    for i in range(2):
        image = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
        write_image(work / "in" / f"{i}.png", image)
    return work


ARGUMENTS = {
    "an empty input": (["--input", ""], "--input is empty"),
    "no input": (["--input", "none"], "none does not exist"),
    "a pattern of nothing": (["--input", "in/*.gif"], "names no images"),
    "a file that is no image": (["--input", "small.yaml"], "small.yaml"),
    "a folder without images": (["--input", "checkpoints"], "names no images"),
    "a domain that is none": (["--input", "in", "--domain", "sea"], "indoor, outdoor"),
    "CLIP without CLIP": (["--input", "in", "--domain", "auto", "--clip-weights", "none.pt"], "--domain indoor"),
    "a checkpoint that is none": (["--input", "in", "--checkpoint", "none.pt"], "none.pt does not exist"),
    "memory that is no size": (["--input", "in", "--max-memory", "much"], "'much' is no size"),
    "no memory": (["--input", "in", "--max-memory", "0"], "'0' is no size"),
    "pixels that are no number": (["--input", "in", "--max-pixels", "many"], "--help"),
    "an output that is a file": (["--input", "in", "--output", "small.yaml"], "small.yaml is a file"),
    "an output over the input": (["--input", "in", "--output", "in", "--overwrite"], "would be overwritten"),
    "an option that is none": (["--input", "in", "--quick"], "--help"),
    "nothing to do": ([], "--help"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_with_a_fault_is_named(scripts, photos, name):
    arguments, says = ARGUMENTS[name]
    refused(scripts, photos, "predict.py", *KEEP, *arguments, says=says)


@pytest.mark.parametrize("name", [name for name, (_, says) in FAULTS.items() if says and "classes that" not in name])
def test_a_fault_in_the_checkpoint_stops_the_work_before_it_begins(scripts, photos, name):
    FAULTS[name][0](photos / BEST)
    refused(scripts, photos, "predict.py", *KEEP, "--input", "in", says="best.pt", memory=2**31, timeout=20)
    assert not (photos / "fired").exists()


BROKEN = {
    "no bytes": b"",
    "a text": b"an image",
    "a bomb": bomb(30_000, 30_000),
    "a bomb of the widest side": bomb(2**31 - 1, 1),
    "no pixels": bomb(0, 0),
    **{f"{ending} cut off": encoded(ending)[: len(encoded(ending)) // 2] for ending in ENDINGS if ending != ".bmp"},
    "16 bits cut off": encoded(".png", np.zeros((24, 32, 3), np.uint16))[:-40],
    "a GIF": KINDS["GIF"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_photograph_is_named_and_stops_no_other(scripts, photos, name):
    (photos / "in/1.png").write_bytes(BROKEN[name])
    done = scripts(photos, "predict.py", *KEEP, "--input", "in", memory=2**31, timeout=20)
    lines = done.stderr.splitlines()
    assert done.code == 1 and len(lines) == 1 and "in/1.png: " in lines[0] and len(lines[0]) < 500, done.stderr
    assert [path.name for path in (photos / "out").iterdir()] == ["0.png"]


@pytest.mark.parametrize("name", [name for name in KINDS if name != "GIF"])
def test_every_kind_of_photograph_comes_back(scripts, photos, name):
    (photos / "in/1.png").write_bytes(KINDS[name])
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in")
    assert len(list((photos / "out").iterdir())) == 2


@pytest.mark.parametrize("name", ["ü.png", "a b.png", "a\nb.png", "-x.png", "%s{x}.png", "x" * 240, "\udcff.png"])
def test_a_photograph_of_any_name_comes_back_under_it(scripts, photos, name):
    name = name if name.endswith(".png") else f"{name}.png"
    (photos / "in/1.png").rename(photos / "in" / name)
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in")
    assert {path.name for path in (photos / "out").iterdir()} == {"0.png", name}


def test_results_that_exist_are_kept_unless_told(scripts, photos):
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in")
    refused(scripts, photos, "predict.py", *KEEP, "--input", "in", says=["2 of 2 results exist", "--overwrite"])
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in", "--overwrite")


def test_odd_things_among_the_photographs_are_passed_by(scripts, photos):
    (photos / "in/a.png").mkdir()
    (photos / "in/b.png").symlink_to("b.png")
    (photos / "in/c").symlink_to("..", target_is_directory=True)
    os.mkfifo(photos / "in/d.png")
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in/*.png")


@pytest.mark.parametrize("change", range(1, CHANGES + 1))
@pytest.mark.parametrize("fault", ["full", "SIGKILL", "SIGTERM", "SIGINT"])
def test_a_fault_at_any_file_leaves_whole_photographs_or_none(scripts, photos, change, fault):
    before = snapshot(photos)
    number = fault if fault == "full" else int(getattr(signal, fault))
    done = scripts(photos, "predict.py", *KEEP, "--input", "in", write=change, fault=number)
    after = snapshot(photos)
    assert done.code in {"full": {0, 1, 2}, "SIGKILL": {-9}, "SIGTERM": {143}, "SIGINT": {130}}[fault], done
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 2, done.stderr
    assert done.code != 1 or "No space left" in done.stderr
    assert set(before) <= set(after)
    assert fault == "SIGKILL" or not [name for name in after if name.endswith(".tmp")]
    accepted(scripts, photos, "predict.py", *KEEP, "--input", "in", "--overwrite", leftovers=True)
    assert {"0.png", "1.png"} <= {path.name for path in (photos / "out").iterdir()}


RESULTS = "results/small-test"
COLUMNS = "name,domain,psnr,ssim,input_psnr,input_ssim"
COMPARED = {  # what is done to one of two results folders
    "no folder": (shutil.rmtree, "does not exist"),
    "no scores": (lambda folder: (folder / "metrics.json").unlink(), "metrics.json does not exist"),
    "no table": (lambda folder: (folder / "results.csv").unlink(), "results.csv does not exist"),
    "an empty file": (lambda folder: (folder / "metrics.json").write_text(""), "cannot be read"),
    "half a file": (lambda folder: (folder / "metrics.json").write_text('{"psnr": 3'), "cannot be read"),
    "a list": (lambda folder: (folder / "metrics.json").write_text("[1, 2]"), "cannot be read"),
    "10,000 brackets": (lambda folder: (folder / "metrics.json").write_text("[" * 100_000), "cannot be read"),
    "no text": (lambda folder: (folder / "metrics.json").write_bytes(b"\xff\xfe"), "cannot be read"),
    "an empty table": (lambda folder: (folder / "results.csv").write_text(""), "other"),
    "a table of words": (
        lambda folder: (folder / "results.csv").write_text(f"{COLUMNS}\n0.png,a,b,c,d,e\n"),
        "cannot be read",
    ),
    "other images": (
        lambda folder: (folder / "results.csv").write_text(f"{COLUMNS}\n9.png,indoor,1,1,1,1\n"),
        "different images",
    ),
    "another protocol": (
        lambda folder: (folder / "metrics.json").write_text(
            json.dumps({**json.loads((folder / "metrics.json").read_text()), "protocol": "another"})
        ),
        "different protocols",
    ),
    "a field of 200,000 letters": (lambda folder: (folder / "results.csv").write_text("a" * 200_000), ""),
}


@pytest.mark.parametrize("name", COMPARED)
def test_results_that_cannot_be_compared_are_named(scripts, work, name):
    change, says = COMPARED[name]
    shutil.copytree(work / RESULTS, work / "results/other")
    change(work / "results/other")
    refused(scripts, work, "compare.py", RESULTS, "results/other", says=["other", says])


@pytest.mark.parametrize("arguments", [[], [RESULTS], [RESULTS, "none"], [RESULTS, "="], [RESULTS, "b", "--most=x"]])
def test_a_comparison_of_nothing_is_refused(scripts, work, arguments):
    refused(scripts, work, "compare.py", *arguments, says="")


@pytest.mark.parametrize("name", ["none", "cut off half-way", "an archive that runs code", "other things", "a list"])
def test_a_checkpoint_that_cannot_be_exported_is_named(scripts, work, name):
    FAULTS[name][0](work / BEST)
    refused(scripts, work, "export.py", "--checkpoint", BEST, "--output", "a.pt2", says="best.pt")
    assert not (work / "fired").exists()


def test_an_export_to_no_format_or_no_place_is_named(scripts, work):
    refused(scripts, work, "export.py", "--checkpoint", BEST, "--output", "a.txt", says="must end in")
    done = scripts(work, "export.py", "--checkpoint", BEST, "--output", "small.yaml/a.safetensors")
    is_one_line(done, "export.py")
