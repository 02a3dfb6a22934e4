"""The scripts' CUDA branches as processes, on a stand-in for the CUDA runtime whose kernels do nothing."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torchvision.models import resnet18

from tests import tiny

NULLGPU = tiny.ROOT.parent / "shared/nullgpu"
CONTRASTIVE = ("loss.contrastive=0.1", "loss.backbone=resnet18", "loss.weights=resnet18.pt")

pytestmark = pytest.mark.skipif(
    not (NULLGPU / "run").exists() or not shutil.which("gcc"), reason="needs ../shared/nullgpu and a C compiler"
)


def run(folder, script, *arguments, before=":"):
    """(exit code, all that was printed) of a script on the stand-in; before: shell commands."""
    line = f'eval "$({NULLGPU}/run --env)"; {before}; exec {sys.executable} {NULLGPU}/nullgpu.py "$@"'
    command = ["bash", "-c", line, "bash", tiny.ROOT / script, *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def train(folder, *overrides, **options):
    """Three steps; returns what was printed and the event of the log that says which kernels ran."""
    arguments = ("tiny.yaml", "device=cuda", "train.steps=3", *overrides)
    code, output = run(folder, "train.py", *arguments, **options)
    assert code == 0 and "done, step 3 of 3" in output, output
    assert "capture violations 0, bad launches 0" in output and "assertion failures 0" in output
    return output, next(line for line in tiny.log(folder) if line["event"] == "kernels")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tiny.make(tmp_path_factory.mktemp("trained"))
    return folder, *train(folder, "train.precision=bf16", "train.recompute=true")


def test_training_runs_in_graphs(trained):
    _, output, kernels = trained
    assert (kernels["path"], kernels["reason"]) == ("graph", None) and output.count("compiling kernels, once") == 1


def test_training_in_fp16_and_parts_runs_in_graphs(tmp_path):
    torch.save(resnet18().state_dict(), tiny.make(tmp_path) / "resnet18.pt")
    assert train(tmp_path, "train.precision=fp16", "train.accumulate=2", *CONTRASTIVE)[1]["path"] == "graph"


def test_without_a_compiler_training_goes_on_by_the_plain_network_and_says_so_once(tmp_path):
    before = f"export TRITON_CACHE_DIR={tmp_path}/empty PATH=/nowhere"
    output, kernels = train(tiny.make(tmp_path), before=before)
    assert kernels["path"] == "plain" and "C compiler" in kernels["reason"]
    assert output.count("training runs by the plain network, which is slower") == 1


def test_testing_and_predicting_replay_graphs_of_the_trained_network(trained):
    folder = trained[0]
    code, output = run(folder, "test.py", "tiny.yaml", "device=cuda", "test.precision=bf16")
    assert code == 0 and "results: results/tiny-test" in output and "graph replays" in output, output
    assert "capture violations 0" in output
    metrics = json.loads((folder / "results/tiny-test/metrics.json").read_text())
    assert metrics["environment"]["kernels"]["path"] == "graph"
    arguments = ("--checkpoint", "checkpoints/tiny/best.pt", "--input", "set/test/hazy", "--output", "out")
    code, output = run(folder, "predict.py", *arguments, "--device", "cuda", "--domain", "indoor")
    assert code == 0 and "3 of 3 images dehazed" in output, output
