"""Exported networks give the network's outputs, for any batch and image size."""

from hashlib import sha256

import numpy as np
import pytest
import torch

import export as script
from models import network_of
from tests import reference
from tests.battery import is_one_line
from tests.made import save_network
from utils import checkpoint

WINDOW = 64
SIZES = [(2, 61, 43), (1, 40, 64), (1, 1, 1), (1, 50, 130), (1, 130, 50), (1, 65, 65)]  # below, across, above it


@pytest.fixture
def export(scripts, tmp_path):
    return lambda path, output, *more: scripts(
        tmp_path, "export.py", "--checkpoint", path, "--output", output, *more, timeout=600
    )


def inputs(fusion, num, height, width):
    hazy = reference.image(num, height, width).float()
    return (hazy,) if fusion == "none" else (hazy, torch.tensor([[0.2, 0.8], [1.0, 0.0]])[:num])


@pytest.mark.parametrize("fusion", ["calip", "parametric"])
def test_onnx_runtime_gives_the_networks_outputs(export, tmp_path, fusion):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    network = save_network(tmp_path / "a.pt", fusion, window=WINDOW)
    done = export(tmp_path / "a.pt", tmp_path / "a.onnx")
    assert done.code == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["classes"] == "indoor,outdoor"
    for size in SIZES:
        tensors = inputs(fusion, *size)
        feed = dict(zip(("hazy", "prob"), (tensor.numpy() for tensor in tensors), strict=False))
        with torch.inference_mode():
            assert np.allclose(session.run(["output"], feed)[0], network(*tensors), rtol=0, atol=1e-4)


def test_a_torch_program_gives_the_networks_outputs_and_a_plain_network_takes_no_domain(export, tmp_path):
    network = save_network(tmp_path / "a.pt", "none")
    assert export(tmp_path / "a.pt", tmp_path / "a.pt2").code == 0
    files = {"size": ""}
    program = torch.export.load(tmp_path / "a.pt2", extra_files=files).module()
    assert files["size"] == "n"
    for size in SIZES:
        tensors = inputs("none", *size)
        with torch.inference_mode():
            assert torch.allclose(program(*tensors), network(*tensors), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["b.safetensors", "b.pt"])
def test_weights_alone_are_a_checkpoint(export, tmp_path, name):
    network = save_network(tmp_path / "a.pt", window=WINDOW)
    done = export(tmp_path / "a.pt", tmp_path / name)
    assert done.code == 0 and sha256((tmp_path / name).read_bytes()).hexdigest() in done.stdout, done.stderr
    saved, before = (checkpoint.load(tmp_path / file) for file in (name, "a.pt"))
    state = saved["network"].pop("state")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert before["network"].pop("state") and saved == before


@pytest.mark.parametrize("name", ["b.safetensors", "b.pth"])
def test_published_names_are_read_back_with_the_same_outputs(export, tmp_path, name):
    network = save_network(tmp_path / "a.pt", "none", size="t")
    assert export(tmp_path / "a.pt", tmp_path / name, "--format", "published").code == 0
    saved, hazy = checkpoint.load(tmp_path / name), reference.image(1, 44, 48).float()
    names = [name.removeprefix("module.") for name in saved.get("state_dict", saved)]
    assert sorted(names) == sorted(dict(reference.LAYOUT["mixdehazenet_t"]))
    with torch.inference_mode():
        assert (network_of(saved)(hazy) - network(hazy)).abs().max() <= 1e-5


def test_a_mistake_is_one_line_and_exit_code_2(export, tmp_path):
    save_network(tmp_path / "a.pt", "none")
    torch.save({"x": torch.zeros(1)}, tmp_path / "foreign.pt")
    torch.save(reference.published_state("mixcldehazenet_t"), tmp_path / "published.pt")
    for path, output, message, *more in [
        ("a.pt", "a.tflite", "must end in .onnx, .pt2"),
        ("foreign.pt", "a.pt2", "neither a checkpoint of this project nor a published one"),
        ("published.pt", "a.pt2", "holds no text embeddings"),
        ("a.pt", "a.pth", "size n with fusion none (concat) has no published form", "--format", "published"),
        ("a.pt", "a.onnx", "--format published is for weights", "--format", "published"),
    ]:
        done = export(tmp_path / path, tmp_path / output, *more)
        assert done.code == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_an_export_that_is_not_the_network_is_not_written(tmp_path, monkeypatch):
    save_network(tmp_path / "a.pt", window=WINDOW)
    monkeypatch.setattr(script, "export_program", lambda network: None)
    monkeypatch.setattr(script, "as_program", lambda program, facts: (b"", lambda hazy, prob: hazy))
    with pytest.raises(ValueError, match="is off by .* at 1 x 1 pixels"):
        script.main(["--checkpoint", str(tmp_path / "a.pt"), "--output", str(tmp_path / "a.pt2")])
    assert not (tmp_path / "a.pt2").exists()


def test_a_full_disk_is_named(tmp_path, scripts):
    save_network(tmp_path / "a.pt", "none")
    done = scripts(tmp_path, "export.py", "--checkpoint", "a.pt", "--output", "a.safetensors", file_size=4000)
    is_one_line(done, "export.py")
    assert "a.safetensors" in done.stderr and [path.name for path in tmp_path.iterdir()] == ["a.pt"]
