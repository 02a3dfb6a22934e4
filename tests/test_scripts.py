"""The main command and its environment, as a user meets them."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from utils import checkpoint

ROOT = Path(__file__).parent.parent
PINNED = dict(
    re.match(r"(\S+)==(\S+?)(?:; python_version >=.*)?$", line).groups()
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if "==" in line and "<" not in line
)


def test_label_train_and_test_leave_what_the_contract_says(finished):
    run, results = finished / "checkpoints" / "small", finished / "results" / "small-test"
    assert {"config.yaml", "log.jsonl", "last.pt", "best.pt"} <= {path.name for path in run.iterdir()}
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} >= {"train", "val"}
    saved = checkpoint.load(run / "last.pt")
    assert saved["step"] == 2 and saved["network"]["size"] == "n" and saved["text"]["encoder"] == "stand-in"
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["num_images"] == 1 and set(metrics["domains"]) == {"indoor"}
    assert metrics["checkpoint"]["step"] and metrics["environment"]["torch"] and metrics["input"]["psnr"] > 0
    with open(results / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["0.png"]
    assert np.mean([float(row["psnr"]) for row in rows]) == pytest.approx(metrics["psnr"])


def test_a_mistake_with_the_main_command_is_one_line_by_any_shell_and_through_a_link(tmp_path):
    (tmp_path / "train.sh").symlink_to(ROOT / "train.sh")
    done = subprocess.run(["sh", "train.sh", "--fast"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "unknown option --fast" in done.stderr


def test_a_signal_to_the_main_command_stops_the_training_which_saves(tmp_path):
    folder = tiny.make(tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = ["bash", ROOT / "train.sh", "tiny.yaml", "train.steps=1000000"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        log = folder / "checkpoints/tiny/log.jsonl"
        while process.poll() is None and not (log.exists() and log.read_text()):
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and output.endswith("stopped: run the same command again to go on\n"), output
    assert tiny.state(folder)["step"] > 0 and not (folder / "results").exists()


def environment(folder, packages):
    """An environment without pip, as uv makes them, in which packages seem to be installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for name, version in packages.items():
        about = site / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return site


def set_up(root, path):
    """Run `setup` in a project at `root` with a PATH, without a package index; returns the process and its python."""
    script = f'root={root}; . {ROOT}/utils/setup.sh; cp {ROOT}/requirements.txt "$root"; setup; echo "$python"'
    variables = {"PATH": path, "PIP_NO_INDEX": "1", "HOME": str(root)}
    return subprocess.run(["bash", "-c", script, "train.sh"], env=variables, capture_output=True, text=True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="other versions are pinned for older Pythons")
@pytest.mark.parametrize("cv2", ["opencv-python-headless", "opencv-python"])
def test_an_environment_that_has_the_packages_is_used_as_it_is(tmp_path, cv2):
    packages = {**PINNED, "torch": PINNED["torch"] + "+cpu"}
    packages[cv2] = packages.pop("opencv-python-headless")
    environment(tmp_path / ".venv", packages)
    done = set_up(tmp_path, "/usr/bin:/bin")
    assert done.stdout == f"{tmp_path}/.venv/bin/python\n", done.stderr
    done = set_up(tmp_path, f"{tmp_path}/.venv/bin:/usr/bin:/bin")  # active
    assert done.stdout == "python\n", done.stderr


def test_an_environment_that_lacks_a_package_is_added_to_not_made_anew(tmp_path):
    site = environment(tmp_path / ".venv", {**PINNED, "torch": "1.0.0"})
    done = set_up(tmp_path, "/usr/bin:/bin")
    assert done.returncode == 2 and "could not be installed: see the message above" in done.stderr, done.stderr
    assert list(site.glob("torch-1.0.0.dist-info")) and list(site.glob("pip"))


def test_scripts_keep_their_line_endings_on_every_system():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    shell = [name for name in names if name and (ROOT / name).is_file() and (ROOT / name).read_bytes()[:2] == b"#!"]
    if not shell:
        pytest.skip("not a git checkout")
    command = ["git", "check-attr", "eol", "utils/setup.sh", *shell]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(shell) >= 3 and told.count("eol: lf\n") == len(shell) + 1, told
