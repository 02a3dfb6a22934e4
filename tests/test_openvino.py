"""predict.py --engine openvino and test.engine=openvino: the same outputs, or a line and our own inference form."""

import importlib.util
import json

import pytest
import torch

from models import openvino_form
from models.fast import openvino
from models.fast.inference import InferenceForm
from tests.test_forms import PROB, image, relative_error, trained

needs_openvino = pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="openvino is not installed")


@needs_openvino
@pytest.mark.parametrize("fusion", ["none", "calip", "parametric"])
def test_its_outputs_are_the_networks_at_any_size(fusion):
    network = trained(fusion, window=40)
    form = openvino_form(network)
    assert type(form) is openvino.OpenVINOForm
    for shape in ((1, 3, 1, 1), (2, 3, 61, 47), (1, 3, 64, 100), (2, 3, 61, 47)):
        assert relative_error(network, form, image(*shape), PROB[: shape[0]]) < 1e-5


@needs_openvino
def test_large_frames_and_with_little_memory_the_inference_form_computes(monkeypatch):
    form = openvino_form(trained())
    form.compiled = None  # what OpenVINO would be called by
    hazy = image(1, 3, 300, 400)
    form(hazy, PROB[:1], 70e6)
    with pytest.raises(TypeError):
        form(hazy, PROB[:1])
    monkeypatch.setattr(openvino, "MOST", 300 * 400 - 1)
    form(hazy, PROB[:1])


@needs_openvino
def test_other_outputs_are_not_taken(monkeypatch, caplog):
    features = openvino.OpenVINOForm.features
    monkeypatch.setattr(openvino.OpenVINOForm, "features", lambda *args: features(*args) * 1.001)
    assert type(openvino_form(trained())) is InferenceForm
    assert caplog.messages == ["note: engine openvino is left out: its outputs differ"]


@pytest.mark.parametrize(("dtype", "why"), [(torch.float16, "float16"), (torch.float32, "pip install openvino")])
def test_where_it_cannot_be_used_a_line_says_so(dtype, why, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert type(openvino_form(trained(), dtype)) is InferenceForm
    assert len(caplog.messages) == 1 and why in caplog.messages[0]
    assert "for a CPU" in openvino.refusal(torch.device("cuda"), dtype)


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
