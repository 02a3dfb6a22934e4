"""Exported networks give the network's outputs, for any batch and image size; a published folder is complete."""

from hashlib import sha256

import numpy as np
import pytest
import torch

import export as script
from models import export_program
from tests import reference
from tests.battery import copy_of
from tests.made import make_pairs, save_network
from utils import checkpoint
from utils.results import read_metrics

WINDOW = 64
SIZES = [(2, 61, 43), (1, 40, 64), (1, 1, 1), (1, 50, 130), (1, 130, 50), (1, 65, 65)]  # below, across, above it


@pytest.fixture
def export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda path, output, *more: script.main(["--checkpoint", path, "--output", output, *more])


def inputs(fusion, num, height, width):
    hazy = reference.image(num, height, width).float()
    return (hazy,) if fusion == "none" else (hazy, torch.tensor([[0.2, 0.8], [1.0, 0.0]])[:num])


def test_onnx_runtime_gives_the_networks_outputs_from_opset_17_on(export, monkeypatch, capsys):
    pytest.importorskip("onnxscript")
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    network = save_network("a.pt", window=WINDOW)
    program = export_program(network)
    monkeypatch.setattr(script, "export_program", lambda network: program)  # takes most of the time
    for opset in (17, 20):
        export("a.pt", "a.onnx", "--opset", str(opset))
        assert "classes indoor,outdoor" in capsys.readouterr().out
        graph = onnx.load("a.onnx")
        assert [item.version for item in graph.opset_import if not item.domain] == [opset]
        sides = [side.dim_param for side in graph.graph.input[0].type.tensor_type.shape.dim]
        assert sides == ["batch", "", "height", "width"]
        session = onnxruntime.InferenceSession("a.onnx", providers=["CPUExecutionProvider"])
        assert session.get_modelmeta().custom_metadata_map["classes"] == "indoor,outdoor"
        for size in SIZES:
            hazy, prob = inputs("calip", *size)
            output = session.run(["output"], {"hazy": hazy.numpy(), "prob": prob.numpy()})[0]
            with torch.inference_mode():
                assert np.allclose(output, network(hazy, prob), rtol=0, atol=1e-4)


def test_a_torch_program_gives_the_networks_outputs_and_a_plain_network_takes_no_domain(export):
    network = save_network("a.pt", "none")
    export("a.pt", "a.pt2")
    files = {"size": ""}
    program = torch.export.load("a.pt2", extra_files=files).module()
    assert files["size"] == "n"
    for size in SIZES:
        tensors = inputs("none", *size)
        with torch.inference_mode():
            assert torch.allclose(program(*tensors), network(*tensors), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["b.safetensors", "b.pt"])
def test_weights_alone_are_a_checkpoint(export, capsys, tmp_path, name):
    network = save_network("a.pt", window=WINDOW)
    export("a.pt", name)
    assert sha256((tmp_path / name).read_bytes()).hexdigest() in capsys.readouterr().out
    saved, before = (checkpoint.load(tmp_path / file) for file in (name, "a.pt"))
    state = saved["network"].pop("state")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert before["network"].pop("state") and saved == before


def test_a_published_folder_holds_weights_card_scores_and_their_sums(export, finished, tmp_path, scripts, capsys):
    copy_of(finished, tmp_path)
    make_pairs(tmp_path / "data/more", ["0.png"], (48, 60))
    assert scripts(tmp_path, "test.py", "small.yaml", "data.test=more").code == 0
    (tmp_path / "results/other-test").mkdir()
    metrics = (tmp_path / "results/small-test/metrics.json").read_text()
    (tmp_path / "results/other-test/metrics.json").write_text(metrics.replace('"sha256": "', '"sha256": "0'))
    export("checkpoints/small/best.pt", "out/mine/")
    folder = tmp_path / "out/mine"
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {"README.md", "model.safetensors", "metrics-small-more.json", "metrics-small-test.json"}
    assert {path.name for path in folder.iterdir()} == {*sums, "SHA256SUMS"}
    assert all(sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    card = (folder / "README.md").read_text()
    for split in ("test", "more"):
        psnr = read_metrics(tmp_path / f"results/small-{split}")["psnr"]
        assert f"## data/{split}" in card and f"{psnr:.2f} dB" in card
    assert "stand-in text features" in card and "2 steps" in card and "scores of 2 tests" in capsys.readouterr().out
    again = ["checkpoint=out/mine/model.safetensors", "run=again"]
    assert scripts(tmp_path, "test.py", "small.yaml", *again).code == 0
    psnr = [read_metrics(tmp_path / "results" / name)["psnr"] for name in ("again-test", "small-test")]
    assert psnr[0] == pytest.approx(psnr[1], abs=1e-4)


@pytest.mark.parametrize(
    ("path", "output", "message", "more"),
    [
        ("a.pt", "a.tflite", "must end in .onnx, .pt2", ()),
        ("foreign.pt", "a.pt2", "neither a checkpoint of this project nor a published one", ()),
        ("published.pt", "a.pt2", "lacks its text embeddings", ()),
        ("published-t.pt", "a.pt", "holds weights alone already: --output must end in .onnx or .pt2", ()),
        ("a.pt", "a.onnx", "argument --opset: invalid choice: 16", ("--opset", "16")),
    ],
)
def test_a_mistake_is_named(export, path, output, message, more):
    save_network("a.pt", "none")
    torch.save({"x": torch.zeros(1)}, "foreign.pt")
    torch.save(reference.published_state("mixcldehazenet_t"), "published.pt")
    torch.save(reference.published_state("mixdehazenet_t"), "published-t.pt")
    with pytest.raises(ValueError, match=message):
        export(path, output, *more)


def test_an_export_that_is_not_the_network_is_not_written(export, tmp_path, monkeypatch):
    save_network("a.pt", window=WINDOW)
    monkeypatch.setattr(script, "as_pt2", lambda program, facts: (b"", lambda hazy, prob: hazy))
    with pytest.raises(ValueError, match="is off by .* at 1 x 1 pixels"):
        export("a.pt", "a.pt2")
    assert not (tmp_path / "a.pt2").exists()
