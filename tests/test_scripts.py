"""The scripts, run as a user runs them: label, train, test, and the line that a mistake gets."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.made import make_pairs
from utils import checkpoint

ROOT = Path(__file__).parent.parent
SMALL = ["model.size=n", "data.workers=0", "train.steps=2", "train.batch=2", "train.crop=32", "train.precision=fp32"]


def script(folder, name, *arguments):
    """Run a script of this project in a folder; returns the finished process."""
    command = [sys.executable, ROOT / name, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six small pairs with known domains under data/, two of them to test on."""
    folder = tmp_path_factory.mktemp("work")
    for split, num in (("train", 4), ("test", 2)):
        make_pairs(folder / "data" / split, [f"{i}.png" for i in range(num)], (44, 52))
    (folder / "small.yaml").write_text("data: {root: data}\ntext: {encoder: stand-in}\n")
    return folder


def test_label_train_and_test_leave_what_the_contract_says(folder):
    for name in ("clip_text.py", "train.py", "test.py"):
        done = script(folder, name, "small.yaml", *SMALL)
        assert done.returncode == 0, done.stderr
    assert "dehazed" in done.stdout and "outdoor" in done.stdout and "stand-in" in done.stdout
    run, results = folder / "checkpoints" / "small", folder / "results" / "small-test"
    assert {"config.yaml", "log.jsonl", "last.pt", "best.pt"} <= {path.name for path in run.iterdir()}
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} >= {"train", "val"}
    saved = checkpoint.load(run / "best.pt")
    assert saved["step"] == 2 and saved["network"]["size"] == "n" and saved["text"]["encoder"] == "stand-in"
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["num_images"] == 2 and set(metrics["domains"]) == {"indoor", "outdoor"}
    assert metrics["checkpoint"]["step"] == 2 and metrics["environment"]["torch"] and metrics["input"]["psnr"] > 0
    with open(results / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["0.png", "1.png"]
    assert np.mean([float(row["psnr"]) for row in rows]) == pytest.approx(metrics["psnr"])


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("train.py", ["smal.yaml"], "did you mean small.yaml"),
        ("train.py", ["small.yaml", "train.stepz=3"], "did you mean train.steps"),
        ("train.py", ["small.yaml", "data.root=data/RESIDE-6K"], "DehazeFormer"),
        ("train.py", [], "--help"),
        ("test.py", ["small.yaml", "checkpoint=nothing.pt"], "nothing.pt does not exist"),
        ("clip_text.py", ["small.yaml", "data.test=tset"], "tset"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folder, name, arguments, named):
    done = script(folder, name, *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and named in done.stderr and done.stderr.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("shell", "arguments", "processes", "named"),
    [
        ("sh", ["--fast"], "1", "unknown option --fast"),
        ("bash", ["-x"], "1", "unknown option -x"),
        *[("bash", [], processes, f"NPROC={processes} is no number") for processes in ("0", "-1", "abc")],
    ],
)
def test_a_mistake_with_the_main_command_is_one_line_by_any_shell_and_through_a_link(
    tmp_path, shell, arguments, processes, named
):
    (tmp_path / "train.sh").symlink_to(ROOT / "train.sh")
    environment = {**os.environ, "NPROC": processes}
    command = [shell, "train.sh", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and named in done.stderr, done.stderr


def test_a_mistake_of_several_processes_ends_without_a_dump(folder):
    command = [sys.executable, "-m", "utils.launch", "--standalone", "--nproc-per-node", "2", ROOT / "train.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "none.yaml"], cwd=folder, capture_output=True, text=True, env=environment)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and all("none.yaml does not exist" in line for line in lines) and len(lines) <= 2, lines
