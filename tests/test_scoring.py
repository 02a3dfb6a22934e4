"""Scoring as a user runs it: rows, means, pictures, notes and mistakes."""

import csv
import json

import numpy as np
import pytest
import torch

from datasets.fingerprint import fingerprint
from datasets.images import read_image
from datasets.pairs import Pairs
from tests import reference
from tests.made import make_pairs, save_network, write_labels
from utils.evaluate import SelfEnsemble
from utils.files import sha256
from utils.settings import Config, to_plain

NAMES = {"1_1.png": (48, 64), "1_2.jpg": (48, 64), "1_2.png": (48, 64), "2_1.png": (56, 40), "a, b.png": (48, 64)}


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
    assert done.stdout.startswith("note: trained on stand-in text features")
    return work / "results/mine-test"


def test_means_are_those_of_the_rows_over_all_and_by_domain(scored):
    rows, metrics = read(scored)
    assert [row["name"] for row in rows] == sorted(NAMES) and metrics["num_images"] == 5
    assert {name: part["num_images"] for name, part in metrics["domains"].items()} == {"indoor": 3, "outdoor": 2}
    for part, domain in [(metrics, ""), *((part, name) for name, part in metrics["domains"].items())]:
        inside = [row for row in rows if domain in ("", row["domain"])]
        for metric in ("psnr", "ssim"):
            assert part[metric] == pytest.approx(np.mean([float(row[metric]) for row in inside]), abs=1e-12)
            assert part["input"][metric] == pytest.approx(np.mean([float(row[f"input_{metric}"]) for row in inside]))
    assert metrics["checkpoint"]["step"] == 7
    assert metrics["checkpoint"]["sha256"] == sha256(scored.parent.parent / "best.pt")
    assert {"settings", "environment", "images_per_second", "wall_seconds"} <= set(metrics)


def test_results_say_what_they_are_of(scored):
    metrics = read(scored)[1]
    assert metrics["data"] == {
        "name": "set",
        "split": "test",
        "fingerprint": fingerprint(Pairs(scored.parents[1] / "set", "test")),
    }
    assert metrics["selection"] == "the best PSNR on pairs held out of the training set"
    assert metrics["seeds"] == {"training": 1} and "cores" in metrics["environment"]["cpu"]
    sides = {f"{label}-{side}.jpg" for label in ("worst", "median", "best") for side in ("hazy", "dehazed", "clear")}
    assert {file.name for file in (scored / "examples").iterdir()} == sides


def test_every_picture_is_written_under_its_name_and_the_report_shows_three(scored):
    files = {path.name for path in (scored / "images").iterdir()}
    assert files == {"1_1.png", "1_2.jpg.png", "1_2.png.png", "2_1.png", "a, b.png"}  # two would share 1_2.png
    assert all(read_image(scored / "images" / name).shape[:2] == NAMES[name] for name in ("1_1.png", "2_1.png"))
    page = (scored / "report.html").read_text()
    assert page.count('"label":') == 3 and page.count("data:image/jpeg") == 9


def test_batches_of_one_give_the_same_scores_and_a_rerun_the_same_rows(score, work, scored):
    rows, _ = read(scored)
    text = (scored / "results.csv").read_bytes()
    for overrides in (["test.batch=1", "run=single"], ["run=again"]):
        assert score(work, *overrides).code == 0
    assert (work / "results/again-test/results.csv").read_bytes() == text
    for one, single in zip(rows, read(work / "results/single-test")[0], strict=True):
        for metric in ("psnr", "ssim", "input_psnr", "input_ssim"):
            assert float(one[metric]) == pytest.approx(float(single[metric]), abs=1e-4)


@pytest.mark.parametrize(("domain", "note"), [("wrong", "with the wrong domains"), ("uniform", "without domains")])
def test_other_domains_change_the_scores_and_are_noted(score, work, scored, domain, note):
    assert score(work, f"test.domain={domain}", f"run={domain}").code == 0
    rows, metrics = read(work / f"results/{domain}-test")
    assert any(f"tested {note}" in text for text in metrics["notes"])
    for right, wrong in zip(read(scored)[0], rows, strict=True):
        assert right["psnr"] != wrong["psnr"]
        assert [right[key] for key in ("domain", "input_psnr")] == [wrong[key] for key in ("domain", "input_psnr")]


def test_clear_images_can_be_given_to_see_what_harm_is_done(score, work, scored):
    assert score(work, "test.input=clear", "run=clear").code == 0
    rows, metrics = read(work / "results/clear-test")
    assert any("do no harm" in note for note in metrics["notes"])
    for row, before in zip(rows, read(scored)[0], strict=True):
        assert row["input_psnr"] == "inf" and row["psnr"] != before["psnr"]


def test_windows_can_be_tested_apart_from_training(score, work, scored):
    assert score(work, "test.window=40", "run=window").code == 0
    rows, metrics = read(work / "results/window-test")
    assert "tested with test.window=40; the training asked for crop" in metrics["notes"]
    assert all(row["psnr"] != before["psnr"] for row, before in zip(rows, read(scored)[0], strict=True))


def test_a_published_checkpoint_is_scored_with_the_splits_text(score, work):
    torch.save(reference.published_state("mixcldehazenet_t"), work / "published.pth")
    done = score(work, "checkpoint=published.pth", "run=published")
    assert done.code == 0, done.stderr
    _, metrics = read(work / "results/published-test")
    assert metrics["notes"][0] == "a published checkpoint" and metrics["checkpoint"]["step"] is None


def test_what_is_in_the_way_is_named_before_any_work(score, work):
    (work / "results").mkdir(exist_ok=True)
    (work / "results/taken-test").write_text("")
    torch.save({"x": torch.zeros(1)}, work / "foreign.pt")
    for overrides, message in [
        (["run=taken"], "results/taken-test cannot be made"),
        (["checkpoint=foreign.pt", "run=foreign"], "foreign.pt is neither a checkpoint of this project nor"),
    ]:
        done = score(work, *overrides)
        assert done.code == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_a_self_ensemble_turns_with_the_image():
    torch.manual_seed(0)
    ensemble = SelfEnsemble(lambda hazy, prob: torch.nn.functional.conv2d(hazy, weight, padding=1))
    weight, image = torch.randn(3, 3, 3, 3), torch.rand(2, 3, 9, 7)
    for change in (lambda x: x.flip(3), lambda x: x.flip(2), lambda x: torch.rot90(x, 1, (2, 3))):
        assert torch.allclose(ensemble(change(image)), change(ensemble(image)), atol=1e-6)
