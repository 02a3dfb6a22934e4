"""CLIP encoders: what they compute, and which weights they take."""

import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from models.clip import weights as clip_weights
from models.clip.encoder import load_encoder
from models.clip.torchscript import read_torchscript
from models.clip.zero_shot import ZeroShot, calip_logits
from tests.tiny_clip import CLASSES, PROMPTS, direct, make_encoder, make_images

ROOT = Path(__file__).parent.parent
TEMPLATES = ("a photo of a {class}", "the {class} of a house")


@pytest.fixture(scope="module", params=["vit", "resnet"])
def tiny(request, tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("clip") / request.param, request.param)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("clip") / "vit", "vit")


@pytest.mark.parametrize("prompts", [PROMPTS, TEMPLATES])
def test_text_and_probabilities_are_open_clips(tiny, tmp_path, prompts):
    names = [f"{i}.png" for i in range(15)] + ["tall.jpg"]
    make_images(tmp_path, names[:-1])
    make_images(tmp_path, names[-1:], size=(90, 30))
    paths = [tmp_path / name for name in names]
    text, prob = direct(*tiny, paths, ("indoor", "outdoor", "sea"), prompts)
    zero_shot = ZeroShot(load_encoder(*tiny), ("indoor", "outdoor", "sea"), prompts)
    batch = torch.stack([zero_shot.preprocess(np.asarray(Image.open(path))) for path in paths])
    assert np.abs(zero_shot.text.numpy() - text).max() < 1e-5
    assert np.abs(zero_shot.prob(batch).numpy() - prob).max() < 1e-5
    alone = torch.cat([zero_shot.prob(image[None]) for image in batch])
    assert np.abs(alone.numpy() - prob).max() < 1e-5


def literal_calip(feature, spatial, text, beta2, beta3):
    """METHOD's equations for one image, position by position and class by class, in float64."""
    f, fv, ft = (value.double() for value in (feature, spatial, text))
    similar = torch.tensor([[2 * (v @ t) for t in ft] for v in fv], dtype=torch.float64)
    over_positions, over_classes = similar.exp() / similar.exp().sum(0), similar.exp() / similar.exp().sum(1)[:, None]
    text_refined = [sum(over_positions[i, k] * fv[i] for i in range(len(fv))) for k in range(len(ft))]
    image_refined = torch.stack([sum(over_classes[i, k] * ft[k] for k in range(len(ft))) for i in range(len(fv))])
    pooled = image_refined.mean(0) + image_refined.max(0).values
    return torch.stack([
        100 * (f @ ft[k]) + beta2 * 100 * (f @ text_refined[k]) + beta3 * 100 * (pooled @ ft[k]) for k in range(len(ft))
    ])


def test_calip_is_its_equations(tiny):
    encoder = load_encoder(*tiny)
    zero_shot = ZeroShot(encoder, CLASSES, PROMPTS, "calip", beta2=0.7, beta3=0.2)
    side = np.max(encoder.visual.image_size)
    images = torch.randint(256, (3, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = zero_shot.preprocess.to_float(images)
    feature, spatial = (torch.nn.functional.normalize(value, dim=-1) for value in zero_shot.features(batch))
    assert torch.allclose(feature, encoder.encode_image(batch, normalize=True), atol=1e-6)
    logits = calip_logits(feature, spatial, zero_shot.text, 0.7, 0.2)
    literal = torch.stack([literal_calip(feature[i], spatial[i], zero_shot.text, 0.7, 0.2) for i in range(3)])
    assert (logits - literal).abs().max() < 1e-4  # of about 100, in float32
    assert (zero_shot.prob(images) - literal.softmax(1)).abs().max() < 1e-5


def test_patch_features_are_the_projected_tokens_after_the_last_norm(vit):
    encoder = load_encoder(*vit)
    visual = encoder.visual
    batch = torch.randn(2, 3, 32, 32)
    tokens = visual.ln_post(visual.transformer(visual._embeds(batch)))
    _, spatial = ZeroShot(encoder, CLASSES, PROMPTS, "calip").features(batch)
    assert torch.allclose(spatial, tokens[:, 1:] @ visual.proj, atol=1e-5)


def test_a_very_long_image_is_seen_in_its_middle(vit):
    preprocess = ZeroShot(load_encoder(*vit), CLASSES, PROMPTS).preprocess
    image = np.zeros((2, 60_000, 3), np.uint8)
    image[:, 29_990:30_010] = 255
    assert preprocess(image).shape == preprocess(image.transpose(1, 0, 2)).shape == (3, 32, 32)
    assert preprocess(image).min() == preprocess(image.transpose(1, 0, 2)).min() == 255


@pytest.mark.parametrize("kind", ["timm vit", "timm convnext"])
def test_timms_networks_give_patches_too(tmp_path, kind):
    encoder = load_encoder(*make_encoder(tmp_path, kind))
    zero_shot = ZeroShot(encoder, CLASSES, PROMPTS, "calip")
    batch = torch.randn(2, 3, 160, 160)
    whole, patches = zero_shot.features(batch)
    assert torch.allclose(whole, encoder.encode_image(batch), atol=1e-5)
    assert patches.shape == (2, 100 if kind == "timm vit" else 25, 32) and patches.std(1).min() > 0
    if kind == "timm convnext":  # a map of one place is that place
        whole, patches = zero_shot.features(batch[:, :, :32, :32])
        assert torch.allclose(whole, patches[:, 0], atol=1e-6)
    assert zero_shot.prob(torch.zeros(2, 3, 160, 160, dtype=torch.uint8)).isfinite().all()


def test_weights_come_as_safetensors_checkpoint_or_folder(vit, tmp_path):
    architecture, path = vit
    state = torch.load(path, weights_only=True)
    save_file(state, tmp_path / "open_clip_model.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "epoch.pt")
    for weights in (tmp_path / "open_clip_model.safetensors", tmp_path / "epoch.pt", tmp_path):
        loaded = load_encoder(architecture, str(weights)).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.fixture
def openai_file(tmp_path):
    """A TorchScript archive in the manner of OpenAI's: half precision, three scalars beside the weights."""
    architecture, _ = make_encoder(tmp_path / "quick", "vit", quick_gelu=True)
    encoder = load_encoder(architecture, str(tmp_path / "quick"))
    inputs = torch.rand(1, 3, 32, 32), encoder.tokenizer(["a"])
    for name in clip_weights.NO_WEIGHTS:
        encoder.__dict__.pop(name, None)
        encoder.register_buffer(name, torch.tensor(16))
    traced = torch.jit.trace(encoder, inputs, check_trace=False).half()
    path = tmp_path / "openai.pt"
    traced.save(str(path))
    return architecture, path, traced.state_dict()


@pytest.mark.filterwarnings("ignore")
def test_openais_archives_are_read_without_running_them(openai_file):
    architecture, path, state = openai_file
    read = read_torchscript(path)
    assert set(read) == set(state) and all(torch.equal(read[name], value) for name, value in state.items())
    loaded = load_encoder(architecture, str(path)).state_dict()
    assert torch.equal(loaded["visual.proj"], state["visual.proj"].float())
    with pytest.raises(ValueError, match="trained with QuickGELU.*: set text.encoder=ViT-B-32-quickgelu"):
        load_encoder("ViT-B-32", str(path))


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("kind", ["state dict", "archive"])
def test_a_malicious_file_does_nothing(tmp_path, monkeypatch, kind):
    architecture, _ = make_encoder(tmp_path / "quick", "vit", quick_gelu=True)
    monkeypatch.setenv("BOMB", str(tmp_path / "went off"))
    path = tmp_path / "bad.pt"
    if kind == "state dict":
        torch.save({"a": Bomb()}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bad/data.pkl", pickle.dumps(Bomb()))
            archive.writestr("bad/constants.pkl", b"")
    with pytest.raises(ValueError, match="bad.pt cannot be read as weights"):
        load_encoder(architecture, str(path))
    assert not (tmp_path / "went off").exists()


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, vit):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(2**23))
    with pytest.raises(ValueError, match="unpacks to far more than its size"):
        load_encoder(vit[0], str(tmp_path / "bomb.pt"))


def change(state, how):
    if how == "missing":
        del state["visual.proj"]
    elif how == "misshapen":  # open_clip itself would resize this one, silently
        state["visual.positional_embedding"] = torch.zeros(26, 32)
    elif how == "unexpected":
        state["visual.extra"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "Missing key.*visual.proj"),
        ("misshapen", r"visual.positional_embedding is \(26, 32\), not \(17, 32\)"),
        ("unexpected", "Unexpected key.*visual.extra"),
    ],
)
def test_weights_that_do_not_fit_are_named(vit, tmp_path, how, message):
    architecture, path = vit
    state = torch.load(path, weights_only=True)
    change(state, how)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=f"other.pt cannot be read as weights of text.encoder=local-dir.*{message}"):
        load_encoder(architecture, str(tmp_path / "other.pt"))


@pytest.mark.parametrize(
    ("architecture", "weights", "message"),
    [
        ("ViT-B-32", "openai", "QuickGELU, .*: set text.encoder=ViT-B-32-quickgelu"),
        ("RN50", "openai", "set text.encoder=RN50-quickgelu"),
        ("ViT-B32", "openai", "no open_clip architecture: did you mean ViT-B-32"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "its tags: openai, .*; laion2b_s34b_b79k belongs to ViT-B-32"),
        ("ViT-B-32-quickgelu", "none/there.pt", "none/there.pt does not exist"),
        ("hf-hub:some/model", "x", "give it as local-dir:FOLDER"),
    ],
)
def test_names_that_do_not_go_together_are_refused(architecture, weights, message):
    with pytest.raises(ValueError, match=message):
        load_encoder(architecture, weights)


def test_a_config_beside_the_weights_tells_their_activation(tmp_path, vit):
    _, quick = make_encoder(tmp_path / "quick", "vit", quick_gelu=True)
    with pytest.raises(ValueError, match="trained with QuickGELU, .* computes GELU"):
        load_encoder(vit[0], quick)


def test_a_folder_of_several_weights_is_refused(tmp_path):
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="holds a.pt, b.pt: give the weights file itself"):
        load_encoder("ViT-B-32", str(tmp_path))


def test_weights_are_known_by_their_content(vit, tmp_path):
    again = tmp_path / "again.pt"
    again.write_bytes(Path(vit[1]).read_bytes())
    assert clip_weights.identify(str(again)) == clip_weights.identify(vit[1])
    again.write_bytes(b"other")
    assert clip_weights.identify(str(again)) != clip_weights.identify(vit[1])
    assert clip_weights.identify("openai") == "openai"


def test_no_connection_is_one_line_and_leaves_nothing(tmp_path):
    for split in ("train", "test"):
        make_images(tmp_path / "data" / split / "hazy", ["a.png"])
    (tmp_path / "mine.yaml").write_text(f"data: {{root: {tmp_path / 'data'}}}")
    before = sorted(tmp_path.rglob("*"))
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, str(ROOT / "clip_text.py"), str(tmp_path / "mine.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "text.weights=openai cannot be had from the hub" in done.stderr and "stand-in" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_hub_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(clip_weights, "HUB_SECONDS", 0.1)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: time.sleep(5))
    with pytest.raises(TimeoutError, match="no answer in 0.1 s"):
        clip_weights.ask_hub()


def test_a_broken_config_is_named(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        load_encoder(f"local-dir:{tmp_path}", "openai")
