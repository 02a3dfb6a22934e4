"""The battery, data: what is missing, broken or odd among images and labels is named in one line, or works."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from datasets.domains import load_domains, save_domains
from tests.battery import accepted, refused
from tests.made import bomb, encoded, make_pairs, picture, write_labels


@pytest.fixture
def work(work):
    """Without results: those of other images would be kept from being replaced."""
    shutil.rmtree(work / "results")
    return work


def table(text):
    return lambda test: ((test / "domains.npz").unlink(), (test / "domains.csv").write_text(text))


def features(**changes):
    """Other values of some fields in domains.npz."""
    return lambda test: save_domains(test, replace(load_domains(test), **changes))


FAULTS = {  # what is done to data/test, and what is said of it; its only pair is 0.png, indoor
    "a hazy image alone": (lambda test: shutil.copy(test / "hazy/0.png", test / "hazy/1.png"), "first 1.png"),
    "random bytes": (lambda test: (test / "hazy/0.png").write_bytes(picture().tobytes()), "hazy/0.png cannot be read"),
    "a bomb": (lambda test: (test / "hazy/0.png").write_bytes(bomb(30_000, 30_000)), "30000 x 30000 pixels"),
    "no labels": (lambda test: [(test / name).unlink() for name in ("domains.npz", "domains.csv")], "domains.csv"),
    "a stem for a name": (table("name,domain\n0,indoor\n"), "line 2: '0' is not an image of data/test/hazy"),
    "a cut-off file": (
        lambda test: (test / "domains.npz").write_bytes((test / "domains.npz").read_bytes()[:500]),
        "domains.npz cannot be read",
    ),
    "features of another encoder": (features(encoder="ViT-L-14"), "made with encoder ViT-L-14"),
    "features of another width": (features(text=np.ones((2, 256), np.float32)), "other text features"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_data_is_named(scripts, work, name):
    change, says = FAULTS[name]
    change(work / "data" / "test")
    refused(scripts, work, "test.py", "small.yaml", says=says, memory=2**31, timeout=20)


@pytest.mark.parametrize("name", ["no labels", "a stem for a name", "a cut-off file", "features of another encoder"])
def test_a_fault_in_the_labels_stops_a_training_before_it_begins(scripts, work, name):
    make_pairs(work / "data" / "val", ["0.png"])
    accepted(scripts, work, "clip_text.py", "small.yaml", "data.val=val")
    change, says = FAULTS[name]
    change(work / "data" / "val")
    refused(scripts, work, "train.py", "small.yaml", "run=new", "data.val=val", says=says.replace("test", "val"))


@pytest.mark.parametrize(("script", "workers"), [("train.py", 2), ("test.py", 0)])
def test_an_image_whose_pixels_are_cut_off_is_named(scripts, work, script, workers):
    for path in (work / "data").glob("*/hazy/*.png"):
        path.write_bytes(path.read_bytes()[:-40])
    arguments = [f"data.workers={workers}", "run=cut", f"checkpoint={work}/checkpoints/small/best.pt"]
    refused(scripts, work, script, "small.yaml", *arguments, says=".png cannot be read", untouched=False)


def test_images_of_any_size_are_trained_on_and_scored(scripts, work):
    for split in ("train", "test"):
        shutil.rmtree(work / "data" / split)
        for number, size in enumerate([(1, 1), (2_000, 1), (41, 39)]):
            make_pairs(work / "data" / split, [f"{number}.png"], size)
        write_labels(work / "data" / split, ["0.png", "1.png", "2.png"])
    for script in ("train.py", "test.py"):
        accepted(scripts, work, script, "small.yaml", "run=any")


def test_any_name_is_labelled_trained_on_and_scored(scripts, work):
    names = ["a b.png", "ü.png", "雾🌫.png", "a\nb.png", "-rf.png", "$(x).png", "a'\"b.png", "%s{x}.png", " .png"]
    names += ["x" * 240 + ".png", "a,b;c\t.png", "a.b.c.PNG", "a b.jpg"]
    for split in ("train", "test"):
        shutil.rmtree(work / "data" / split)
        make_pairs(work / "data" / split, names)
    for script in ("clip_text.py", "train.py", "test.py"):
        done = accepted(scripts, work, script, "small.yaml", "run=names", "test.images=true")
    assert "dehazed" in done.stdout and len(list((work / "results/names-test/images").iterdir())) == len(names)


def test_what_is_no_image_is_left_out_and_counted(scripts, work):
    hazy = work / "data/test/hazy"
    (hazy / "sub").mkdir()
    for name in ("sub/1.png", "sub/2.png", "3.heic"):
        (hazy / name).write_bytes(encoded(".png"))
    (hazy / "none.png").symlink_to("nothing.png")
    os.mkfifo(hazy / "pipe.png")
    said = accepted(scripts, work, "test.py", "small.yaml").stdout
    assert "data/test/hazy: files left out, of other kinds or in subfolders: 4 .png, 1 .heic" in said
    keep = ["--checkpoint", "checkpoints/small/best.pt", "--output", "out", "--domain", "indoor"]
    said = accepted(scripts, work, "predict.py", *keep, "--input", "data/test").stdout
    assert "1 .heic" in said and "4 of 4 images dehazed" in said


def test_pixels_that_changed_are_noticed_and_a_copy_is_not(scripts, work):
    for path in work.glob("data/train/*/*.png"):
        path.write_bytes(path.read_bytes())  # with another time
    accepted(scripts, work, "train.py", "small.yaml")
    for i in range(3):  # one of them is held out for validation
        path = work / f"data/train/hazy/{i}.png"
        before = path.read_bytes()
        path.write_bytes(encoded(".png", picture(seed=7)))
        refused(scripts, work, "train.py", "small.yaml", says="other training images")
        path.write_bytes(before)


def test_what_may_not_be_read_is_named(scripts, work):
    (work / "data/test/GT/0.png").chmod(0)
    refused(scripts, work, "test.py", "small.yaml", says="data/test/GT/0.png", humble=True)


def test_a_dry_run_needs_no_data_set(scripts, work):
    said = accepted(scripts, work, "train.py", "small.yaml", "data.root=nowhere", "--dry-run").stdout
    assert "steps" in said and "epochs" not in said
    assert "epochs of 2 pairs" in accepted(scripts, work, "train.py", "small.yaml", "--dry-run").stdout
