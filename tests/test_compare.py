"""Results folders side by side: what is refused, and what the intervals mean."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from utils.metrics import PROTOCOL
from utils.results import comparison_table, open_groups, summarise, write_results
from utils.results.statistics import paired_interval
from utils.settings import Config, to_plain


def write_run(folder, gain=0.0, noise=0.0, seed=0, num=20, names=None, fusion="calip", **changes):
    """A results folder whose images score `gain` dB more than a fixed level, and `noise` dB more or less."""
    level, change = np.random.default_rng(0).normal(20, 3, num), np.random.default_rng(seed).normal(gain, noise, num)
    rows = [
        {
            **{"name": names[i] if names else f"{i}.png", "domain": ("indoor", "outdoor")[i % 2]},
            **{"psnr": level[i] + change[i], "ssim": 0.9 + 0.001 * change[i]},
            **{"input_psnr": level[i] - 5, "input_ssim": 0.7},
        }
        for i in range(num)
    ]
    settings = to_plain(Config())
    settings["model"]["fusion"] = fusion
    folder.mkdir()
    metrics = {**summarise(rows), "protocol": PROTOCOL, "settings": settings, "trained_with": settings}
    metrics |= {"data": {"fingerprint": "01"}, **changes}
    write_results(folder, metrics, rows)
    return str(folder)


@pytest.fixture
def compare(scripts, tmp_path):
    return lambda *arguments: scripts(tmp_path, "compare.py", *arguments)


def test_a_run_against_itself_has_no_difference(compare, tmp_path):
    run = write_run(tmp_path / "a")
    done = compare(run, run)
    assert done.code == 0 and "no difference" in done.stdout and "+0.00 [+0.00, +0.00]" in done.stdout


def test_two_runs_give_an_interval_counts_the_setting_and_the_most_different_images(compare, tmp_path):
    a = write_run(tmp_path / "a", fusion="none")
    b = write_run(tmp_path / "b", gain=1, noise=0.5, seed=1)
    done = compare(a, b, "--markdown", "--most", "2")
    assert done.code == 0 and "differ in: model.fusion calip (not none)" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("| all 20 | b |")]
    change = np.random.default_rng(1).normal(1, 0.5, 20)
    assert len(lines) == 1 and f"+{change.mean():.2f} [+" in lines[0]
    assert lines[0].endswith(f"| {(change > 0).sum()} / {(change < 0).sum()} |")
    most = done.stdout.splitlines()[-2:]
    assert f"| {abs(change).argmax()}.png |" in most[0]


def test_runs_of_one_configuration_are_one_line_with_their_spread(tmp_path):
    runs = [write_run(tmp_path / f"{name}{i}", gain, 0.1, i) for name, gain in (("a", 0), ("b", 1)) for i in range(3)]
    groups, images = open_groups([f"none={','.join(runs[:3])}", f"calip={','.join(runs[3:])}"])
    header, lines = comparison_table(groups, images, 500)
    means = [group.psnr.mean(1) for group in groups]
    assert [line[1:4] for line in lines[:2]] == [
        [name, "3", f"{mean.mean():.2f} ± {mean.std(ddof=1):.2f}"]
        for name, mean in zip(("none", "calip"), means, strict=True)
    ]
    assert [line[0] for line in lines] == ["all 20"] * 2 + ["indoor 10"] * 2 + ["outdoor 10"] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num": 19}, "hold different images, first 19.png"),
        ({"names": [f"x{i}.png" for i in range(20)]}, "hold different images, first 0.png"),
        ({"names": [f"{19 - i}.png" for i in range(20)]}, "the hazy 0.png itself scores"),
        ({"protocol": "another"}, "different protocols"),
        ({"data": {"fingerprint": "02"}}, "different data: the images' fingerprints are 01 and 02"),
    ],
)
def test_other_images_and_other_protocols_are_refused(tmp_path, changes, message):
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b", **changes)
    with pytest.raises(ValueError, match=message):
        open_groups([first, second])


def test_results_without_a_fingerprint_are_compared_by_their_names(compare, tmp_path):
    done = compare(write_run(tmp_path / "old", data={}), write_run(tmp_path / "new"))
    assert done.code == 0 and "one seed is no evidence for a difference below half a decibel" in done.stdout


def test_a_mistake_is_one_line_and_exit_code_2(compare, tmp_path):
    run = write_run(tmp_path / "a")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "metrics.json").write_text("{")
    for arguments, message in [
        ([run], "nothing to be compared with"),
        ([run, str(tmp_path)], "metrics.json does not exist"),
        ([run, str(broken)], "broken cannot be read"),
        ([run, f"x={run},{run}"], "names a folder twice"),
    ]:
        done = compare(*arguments)
        assert done.code == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_an_image_that_equals_its_target_is_left_out(tmp_path):
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b", gain=math.inf, num=20)
    text = Path(first, "results.csv").read_text().splitlines()
    text[5] = ",".join([*text[5].split(",")[:2], "inf", *text[5].split(",")[3:]])
    Path(first, "results.csv").write_text("\n".join(text) + "\n")
    groups, images = open_groups([first, first])
    assert images.left_out == 1 and "4.png" not in images.names and np.isfinite(groups[0].psnr).all()
    with pytest.raises(ValueError, match="no image with a finite PSNR"):
        open_groups([first, second])


def test_an_infinite_mean_is_valid_json(tmp_path):
    run = Path(write_run(tmp_path / "a", gain=math.inf))
    text = (run / "metrics.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["psnr"] is None
    assert ",inf," in (run / "results.csv").read_text()


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
