"""What test_openvino.py runs in a process of its own: OpenVINO stays out of the process of the other tests."""

import pytest

from models import openvino_form
from models.fast import openvino
from models.fast.inference import InferenceForm
from tests.test_forms import PROB, image, relative_error, trained


@pytest.mark.parametrize("fusion", ["none", "calip", "parametric"])
def test_its_outputs_are_the_networks_at_any_size(fusion):
    network = trained(fusion, window=40)
    form = openvino_form(network)
    assert type(form) is openvino.OpenVINOForm
    for shape in ((1, 3, 1, 1), (2, 3, 61, 47), (1, 3, 64, 100), (2, 3, 61, 47)):
        assert relative_error(network, form, image(*shape), PROB[: shape[0]]) < 1e-5


def test_large_frames_and_with_little_memory_the_inference_form_computes(monkeypatch):
    form = openvino_form(trained())
    form.compiled = None  # what OpenVINO would be called by
    hazy = image(1, 3, 300, 400)
    form(hazy, PROB[:1], 70e6)
    with pytest.raises(TypeError):
        form(hazy, PROB[:1])
    monkeypatch.setattr(openvino, "MOST", 300 * 400 - 1)
    form(hazy, PROB[:1])


def test_other_outputs_are_not_taken(monkeypatch, caplog):
    features = openvino.OpenVINOForm.features
    monkeypatch.setattr(openvino.OpenVINOForm, "features", lambda *args: features(*args) * 1.001)
    assert type(openvino_form(trained())) is InferenceForm
    assert caplog.messages == ["note: engine openvino is left out: its outputs differ"]
