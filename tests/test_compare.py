"""Results folders side by side: what is refused, and what the intervals mean."""

import csv
import io
import json
import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from utils.metrics import PROTOCOL
from utils.results import (
    as_text,
    changed_settings,
    compare,
    comparison_table,
    open_groups,
    read_metrics,
    summarise,
    write_results,
)
from utils.results.comparison import paired_interval
from utils.settings import Config, to_plain

LAST, BEST = "the last step", "the best PSNR on pairs held out of the training set"


def settings_with(changes):
    """The default settings but for {dotted key: value}."""
    settings = to_plain(Config())
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        (settings[section] if section else settings)[name] = value
    return settings


def chosen(sha256, selection=LAST, step=600):
    """What metrics.json says of a checkpoint."""
    return {"selection": selection, "checkpoint": {"path": f"{sha256}.pt", "sha256": sha256 * 64, "step": step}}


def write_run(folder, gain=0.0, noise=0.0, seed=0, fusion="calip", trained=None, tested=None, **changes):
    """A results folder of 20 images that score `gain` dB more than a fixed level, and `noise` dB more or less.

    trained: settings of the training, {dotted key: value}. tested: those that differ in the test.
    """
    level, change = np.random.default_rng(0).normal(20, 3, 20), np.random.default_rng(seed).normal(gain, noise, 20)
    rows = [
        {
            "name": f"{i}.png",
            "domain": ("indoor", "outdoor")[i % 2],
            "psnr": level[i] + change[i],
            "ssim": 0.9 + 0.001 * change[i],
            "input_psnr": level[i] - 5,
            "input_ssim": 0.7,
        }
        for i in range(20)
    ]
    trained = {"model.fusion": fusion, **(trained or {})}
    folder.mkdir()
    metrics = {**summarise(rows), "protocol": PROTOCOL, "trained_with": settings_with(trained)}
    metrics |= {"settings": settings_with({**trained, **(tested or {})}), "data": {"fingerprint": "01"}}
    metrics |= {"parameters": 3_200_000, "multiply_adds": 29.2e9, "images_per_second": 4.0}
    write_results(folder, {**metrics, **chosen(folder.name), **changes}, rows)
    return str(folder)


@pytest.fixture
def script(scripts, tmp_path):
    return lambda *arguments: scripts(tmp_path, "compare.py", *arguments)


def test_two_runs_give_an_interval_counts_costs_and_the_setting_that_differs(script, tmp_path):
    a = write_run(tmp_path / "a", fusion="none")
    b = write_run(tmp_path / "b", gain=1, noise=0.5, seed=1)
    done = script(a, b, "--markdown")
    assert done.code == 0 and "differ in: model.fusion calip (not none)" in done.stdout
    assert "one seed is no evidence for a difference below half a decibel" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("| all 20 | b |")]
    change = np.random.default_rng(1).normal(1, 0.5, 20)
    assert len(lines) == 1 and f"+{change.mean():.2f} [+" in lines[0]
    assert lines[0].endswith(f"| {(change > 0).sum()} / {(change < 0).sum()} | 3.2 | 29.2 | 4 |")


def test_rows_that_a_spreadsheet_has_sorted_are_paired_by_name_and_missing_ones_are_told(tmp_path):
    folders = [write_run(tmp_path / name, noise=1) for name in "ab"]
    header, *rows = (tmp_path / "b/results.csv").read_text().splitlines()
    (tmp_path / "b/results.csv").write_text("\n".join([header, *reversed(rows)]))
    first, second = open_groups(folders)
    assert first.names == second.names and np.array_equal(first.psnr, second.psnr) and np.ptp(first.psnr) > 0.1
    (tmp_path / "b/results.csv").write_text("\n".join([header, *rows[1:]]))
    with pytest.raises(ValueError, match=r"b/results.csv is not as test.py wrote it \(.*19 rows of 20 images"):
        open_groups(folders)


def test_csv_holds_every_number_and_nothing_else_is_on_standard_output(script, tmp_path):
    runs = write_run(tmp_path / "a"), write_run(tmp_path / "b", gain=1)
    done = script(*runs, "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["images"], row["name"]) for row in rows] == list(product(("all", "indoor", "outdoor"), "ab"))
    assert float(rows[1]["psnr_difference"]) == pytest.approx(1) and rows[0]["psnr_difference"] == ""
    assert float(rows[0]["multiply_adds"]) == 29.2e9 and rows[2]["multiply_adds"] == ""
    assert "differ in" in done.stderr


def test_latex_is_a_table_in_which_every_letter_is_text():
    text = as_text(["images", "PSNR - 50%_a"], [["a_b & {c} \\ #1$", "-0.10 ± 0.2"]], "latex").splitlines()
    assert text[0] == r"\begin{tabular}{ll}" and text[-1] == r"\end{tabular}"
    assert text[2] == r"images & PSNR - 50\%\_a \\"
    assert text[4] == r"a\_b \& \{c\} $\backslash$ \#1\$ & $-$0.10 $\pm$ 0.2 \\"


def test_runs_of_one_configuration_are_one_line_with_their_spread(tmp_path):
    runs = [
        write_run(tmp_path / f"{name}{i}", gain, 0.1, i, trained={"seed": i})
        for name, gain in (("a", 0), ("b", 1))
        for i in range(3)
    ]
    groups = open_groups([f"none={','.join(runs[:3])}", f"calip={','.join(runs[3:])}"])
    _, lines = comparison_table(compare(groups, 500))
    mean = groups[1].psnr.mean(1)
    assert lines[1][:4] == ["all 20", "calip", "3", f"{mean.mean():.2f} ± {mean.std(ddof=1):.2f}"]
    assert [line[0] for line in lines] == ["all 20"] * 2 + ["indoor 10"] * 2 + ["outdoor 10"] * 2


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (chosen("b", BEST, 400), f"selection {BEST} (not {LAST}), step 400 (not 600)"),
        (chosen("b"), "checkpoint b.pt, SHA-256 bbbbbbbb (not a.pt, SHA-256 aaaaaaaa)"),
        ({"trained": {"seed": 2, "train.save_every": 7}, **chosen("b")}, "seed 2 (not 1)"),
        ({"trained": {"text.labels": "hard", "data.root": "/its/set"}}, "data.root set (not None), text.labels hard"),
    ],
)
def test_what_sets_two_results_apart_is_said(tmp_path, changes, line):
    base, group = open_groups([write_run(tmp_path / "a"), write_run(tmp_path / "b", **changes)])
    assert changed_settings(group, base).startswith(line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained": {"train.lr": 0.1}}, r"train.lr 0.1 \(not 0.0001\)"),
        ({"tested": {"test.domain": "wrong"}}, "test.domain wrong"),
        (chosen("f", BEST), f"selection {BEST}"),
    ],
)
def test_runs_of_one_configuration_differ_in_their_seed_alone(tmp_path, changes, message):
    """Places, names, pace and the best step may differ."""
    first = {"seed": 1, "run": "a-1", "data.root": "/sets/mine"}
    other = {"seed": 2, "run": "a-2", "data.root": "data/mine", "data.workers": 0}
    runs = [write_run(tmp_path / "a", trained=first), write_run(tmp_path / "b", trained=other, **chosen("b", step=400))]
    wrong = write_run(tmp_path / "wrong", **{**changes, "trained": {**other, **changes.get("trained", {})}})
    assert len(open_groups([f"x={','.join(runs)}", wrong])[0].psnr) == 2
    with pytest.raises(ValueError, match=message) as refused:
        open_groups([f"x={','.join([*runs, wrong])}", runs[0]])
    assert wrong in str(refused.value) and any(run in str(refused.value) for run in runs)


def test_other_images_protocols_and_folders_are_refused(script, tmp_path):
    run, other = write_run(tmp_path / "a"), write_run(tmp_path / "b", fusion="none")
    for arguments, message in [
        ([run, str(tmp_path)], "holds no results of this version's test.py"),
        ([run, write_run(tmp_path / "c", protocol="another")], f"({PROTOCOL}, 01 | another, 01)"),
        ([run, write_run(tmp_path / "d", data={"fingerprint": "02"})], f"({PROTOCOL}, 01 | {PROTOCOL}, 02)"),
        ([run, f"x={run},{other}"], f"{other} differs from {run} in model.fusion none (not calip)"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            open_groups(arguments)
    done = script(run)
    assert done.code == 2 and "nothing to be compared with" in done.stderr and done.stderr.count("\n") == 1


def test_an_infinite_psnr_is_valid_json_and_read_back(tmp_path):
    folder = Path(write_run(tmp_path / "a", gain=math.inf))
    assert json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)["psnr"] is None
    assert read_metrics(folder)["psnr"] == read_metrics(folder)["domains"]["indoor"]["psnr"] == math.inf


def test_the_interval_is_as_wide_as_the_variance_of_images_and_runs_makes_it():
    random = np.random.default_rng(0)
    level, change = random.normal(20, 3, 400), random.normal(0.5, 1, 400)
    base, ours = (random.normal(0, 0.2, (runs, 1)) + level for runs in (4, 3))
    ours = ours + change
    variance = change.var() / 400 + sum(scores.mean(1).var(ddof=1) / len(scores) for scores in (ours, base))
    low, high = paired_interval(ours, base)
    assert low < ours.mean() - base.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * variance**0.5, rel=0.05)
    low, high = paired_interval(ours[:1], base[:1])  # one run each: the images alone
    assert (high - low) / 2 == pytest.approx(1.96 * (change.var() / 400) ** 0.5, rel=0.05)
    assert paired_interval(ours[:1], base[:1]) == (low, high)
