"""Scoring as a user runs it: rows, means, pictures, notes and mistakes."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch

from datasets.images import read_image, write_image
from datasets.listing import fingerprint
from datasets.pairs import Outputs, Pairs, match
from models import network_of
from tests import reference
from tests.made import make_pairs, save_network, write_labels
from utils.cost import multiply_adds
from utils.files import sha256
from utils.results import changed_settings, open_groups
from utils.settings import Config, to_plain

NAMES = {"1_1.png": (48, 64), "1_2.jpg": (48, 64), "1_2.png": (48, 64), "2_1.png": (56, 40), "a, b.png": (48, 64)}
IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with five pairs of two sizes, a network with random weights, and settings for both."""
    work = tmp_path_factory.mktemp("scoring")
    for seed, (name, size) in enumerate(NAMES.items()):
        make_pairs(work / "set/test", [name], size, seed)
    write_labels(work / "set/test", NAMES)
    save_network(work / "best.pt", settings=to_plain(Config()))
    (work / "mine.yaml").write_text(
        "checkpoint: best.pt\ndevice: cpu\ntext: {encoder: stand-in}\ndata: {root: set, workers: 0}"
    )
    return work


@pytest.fixture(scope="session")
def score(scripts):
    return lambda work, *overrides: scripts(work, "test.py", "mine.yaml", *overrides)


def read(folder):
    """The rows of results.csv and the content of metrics.json."""
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def scored(score, work):
    done = score(work, "test.images=true")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("note: on stand-in text features")
    return work / "results/mine-test"


def test_means_are_those_of_the_rows_over_all_and_by_domain(scored):
    rows, metrics = read(scored)
    assert [row["name"] for row in rows] == sorted(NAMES)
    assert {name: part["num_images"] for name, part in metrics["domains"].items()} == {"indoor": 3, "outdoor": 2}
    for part, domain in [(metrics, ""), *((part, name) for name, part in metrics["domains"].items())]:
        inside = [row for row in rows if domain in ("", row["domain"])]
        for metric in ("psnr", "ssim"):
            assert part[metric] == pytest.approx(np.mean([float(row[metric]) for row in inside]), abs=1e-12)
            assert part["input"][metric] == pytest.approx(np.mean([float(row[f"input_{metric}"]) for row in inside]))


def test_results_say_what_they_are_of_and_what_it_costs(scored):
    metrics, checkpoint = read(scored)[1], scored.parents[1] / "best.pt"
    pairs = Pairs(scored.parents[1] / "set", "test")
    digits = fingerprint(pairs.hazy, pairs.clear)
    assert metrics["data"] == {"name": "set", "split": "test", "fingerprint": digits}
    assert metrics["checkpoint"] == {"path": "best.pt", "sha256": sha256(checkpoint), "step": 7}
    assert metrics["selection"] == "the best PSNR on pairs held out of the training set"
    assert metrics["seeds"] == {"training": 1} and metrics["images_per_second"] > 0
    assert "cores" in metrics["environment"]["device"] and metrics["environment"]["kernels"]["path"] == "form"
    network = network_of(torch.load(checkpoint))
    assert metrics["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert metrics["multiply_adds"] == multiply_adds(network, 256, 2) > 1e8


def test_every_picture_is_written_under_its_name_and_the_report_opens_it(scored):
    files = {path.name for path in (scored / "images").iterdir()}
    assert files == {"1_1.png", "1_2.jpg.png", "1_2.png.png", "2_1.png", "a, b.png"}  # two would share 1_2.png
    assert all(read_image(scored / "images" / name).shape[:2] == NAMES[name] for name in ("1_1.png", "2_1.png"))
    sides = {f"{label}-{side}.jpg" for label in ("worst", "median", "best") for side in ("hazy", "dehazed", "clear")}
    assert {file.name for file in (scored / "examples").iterdir()} == sides
    page = (scored / "report.html").read_text()
    assert page.count('"label":') == 3 and page.count("data:image/jpeg") == 9
    rows = json.loads(re.search("const data = (.*);", page)[1])["rows"]
    assert all((scored / file).is_file() for row in rows for file in row[-1])


def test_a_networks_own_images_as_another_methods_have_its_scores_but_for_8_bits(score, work, scored):
    shutil.copytree(scored / "images", work / "theirs")
    done = score(work, "test.outputs=theirs", "run=theirs", "checkpoint=none.pt")
    assert done.code == 0, done.stderr
    rows, metrics = read(work / "results/theirs-test")
    for ours, theirs in zip(read(scored)[0], rows, strict=True):
        assert all(ours[key] == theirs[key] for key in ("name", "domain", "input_psnr", "input_ssim"))
        assert float(theirs["psnr"]) == pytest.approx(float(ours["psnr"]), abs=0.01)
        assert float(theirs["ssim"]) == pytest.approx(float(ours["ssim"]), abs=1e-3)
    assert metrics["outputs"] == "theirs" and metrics["checkpoint"] is metrics["parameters"] is None
    assert "images of theirs" in (work / "results/theirs-test/report.html").read_text()
    groups = open_groups([str(scored), str(work / "results/theirs-test")])
    assert changed_settings(*groups[::-1]) == "test.outputs theirs (not None)"


def test_other_methods_images_are_matched_by_name_stem_or_longer_name():
    files = ["1.png", "2.jpg", "3.jpg.png", "3.png"]
    assert match(["1.png", "2.png", "3.jpg", "3.png"], files).tolist() == [0, 1, 2, 3]
    assert match(["3.jpg", "3.png"], ["3.png"]).tolist() == [-1, 0]  # one file for two images


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "2_1.png").unlink(), "hazy: 1 without a partner in .*theirs, first 2_1.png"),
        (lambda folder: write_image(folder / "9.png", IMAGE), "theirs: 1 without a partner .*, first 9.png"),
        (lambda folder: write_image(folder / "1_1.png", IMAGE), "1_1.png .8 x 8. and .* .64 x 48. are of unequal size"),
        (shutil.rmtree, "is not a folder"),
    ],
)
def test_missing_extra_and_unequal_images_of_another_method_are_refused(scored, tmp_path, change, message):
    folder = shutil.copytree(scored / "images", tmp_path / "theirs")
    change(folder)
    with pytest.raises(ValueError, match=message):
        Outputs(folder, Pairs(scored.parents[1] / "set", "test"))


def test_batches_of_one_give_the_same_scores(score, work, scored):
    assert score(work, "test.batch=1", "run=single").code == 0
    for one, single in zip(read(scored)[0], read(work / "results/single-test")[0], strict=True):
        for metric in ("psnr", "ssim", "input_psnr", "input_ssim"):
            assert float(one[metric]) == pytest.approx(float(single[metric]), abs=1e-4)


@pytest.mark.parametrize(
    ("override", "note"),
    [
        ("test.domain=wrong", "tested with the wrong domains"),
        ("test.domain=uniform", "tested without domains"),
        ("test.window=40", "stand-in"),
        ("test.input=clear", "do no harm"),
    ],
)
def test_other_conditions_change_the_scores_and_are_noted(score, work, scored, override, note):
    run = override.replace("=", "-")
    assert score(work, override, f"run={run}").code == 0
    rows, metrics = read(work / f"results/{run}-test")
    assert any(note in text for text in metrics["notes"])
    for before, row in zip(read(scored)[0], rows, strict=True):
        assert row["psnr"] != before["psnr"] and row["domain"] == before["domain"]
        assert row["input_psnr"] == ("inf" if "clear" in override else before["input_psnr"])


def test_a_published_checkpoint_is_scored_with_the_splits_text(score, work):
    torch.save(reference.published_state("mixcldehazenet_t"), work / "published.pth")
    done = score(work, "checkpoint=published.pth", "run=published")
    assert done.code == 0, done.stderr
    _, metrics = read(work / "results/published-test")
    assert metrics["notes"][0] == "a published checkpoint" and metrics["checkpoint"]["step"] is None


def test_what_is_in_the_way_is_named_before_any_work(score, work):
    (work / "results").mkdir(exist_ok=True)
    (work / "results/taken-test").write_text("")
    done = score(work, "run=taken")
    assert done.code == 2 and "results/taken-test cannot be used (File exists)" in done.stderr
