"""predict.py --engine openvino and test.engine=openvino: the same outputs, or a line and our own inference form."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import openvino_form
from models.fast.inference import InferenceForm
from models.fast.openvino import refusal
from tests.test_forms import trained

needs_openvino = pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="openvino is not installed")


@needs_openvino
def test_its_outputs_are_the_networks_or_are_not_taken():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/openvino_cases.py"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr  # 5 where there is no test


@pytest.mark.parametrize(("dtype", "why"), [(torch.float16, "float16"), (torch.float32, "pip install openvino")])
def test_where_it_cannot_be_used_a_line_says_so(dtype, why, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert type(openvino_form(trained(), dtype)) is InferenceForm
    assert len(caplog.messages) == 1 and why in caplog.messages[0]
    assert "for a CPU" in refusal(torch.device("cuda"), dtype)


@needs_openvino
def test_the_scripts_take_it(scripts, work):
    metrics = work / "results/small-test/metrics.json"
    psnr = json.loads(metrics.read_text())["psnr"]
    done = scripts(work, "test.py", "small.yaml", "test.engine=openvino")
    assert done.code == 0 and not done.stderr, done.stderr
    assert json.loads(metrics.read_text())["psnr"] == pytest.approx(psnr, abs=1e-4)
    arguments = ["--checkpoint", "checkpoints/small/best.pt", "--input", "data/test/hazy", "--output", "out"]
    done = scripts(work, "predict.py", *arguments, "--domain", "indoor", "--engine", "openvino")
    assert done.code == 0 and not done.stderr, done.stderr
