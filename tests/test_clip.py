"""CLIP encoders: what they compute, and which weights they take."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from models.clip.encoder import SCALARS, load_encoder
from models.clip.zero_shot import ZeroShot, calip_logits, patch_features
from tests.tiny_clip import CLASSES, PROMPTS, direct, make_encoder, make_images

ROOT = Path(__file__).parent.parent
TEMPLATES = ("a photo of a {class}", "the {class} of a house")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("clip") / "vit", "vit")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("clip") / "resnet", "resnet")


@pytest.mark.parametrize(("kind", "prompts"), [("vit", TEMPLATES), ("resnet", PROMPTS)])
def test_text_and_probabilities_are_open_clips(request, tmp_path, kind, prompts):
    encoder, names = request.getfixturevalue(kind), [f"{i}.png" for i in range(15)] + ["tall.jpg"]
    make_images(tmp_path, names[:-1])
    make_images(tmp_path, names[-1:], size=(90, 30))
    paths = [tmp_path / name for name in names]
    text, prob = direct(*encoder, paths, ("indoor", "outdoor", "sea"), prompts)
    zero_shot = ZeroShot(load_encoder(*encoder), ("indoor", "outdoor", "sea"), prompts)
    batch = torch.stack([zero_shot.preprocess(np.asarray(Image.open(path))) for path in paths])
    assert np.abs(zero_shot.text.numpy() - text).max() < 1e-5
    assert np.abs(zero_shot.prob(batch).numpy() - prob).max() < 1e-5


def literal_calip(feature, spatial, text, beta2, beta3):
    """METHOD's equations for one image, position by position and class by class, in float64."""
    f, fv, ft = (value.double() for value in (feature, spatial, text))
    similar = torch.tensor([[2 * (v @ t) for t in ft] for v in fv], dtype=torch.float64)
    over_positions, over_classes = similar.exp() / similar.exp().sum(0), similar.exp() / similar.exp().sum(1)[:, None]
    text_refined = [sum(over_positions[i, k] * fv[i] for i in range(len(fv))) for k in range(len(ft))]
    image_refined = torch.stack([sum(over_classes[i, k] * ft[k] for k in range(len(ft))) for i in range(len(fv))])
    pooled = image_refined.mean(0) + image_refined.max(0).values
    return torch.stack(
        [
            100 * (f @ ft[k]) + beta2 * 100 * (f @ text_refined[k]) + beta3 * 100 * (pooled @ ft[k])
            for k in range(len(ft))
        ]
    )


def test_calip_is_its_equations_over_the_projected_tokens_after_the_last_norm(vit):
    encoder = load_encoder(*vit)
    zero_shot, visual = ZeroShot(encoder, CLASSES, PROMPTS, "calip", beta2=0.7, beta3=0.2), encoder.visual
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = zero_shot.preprocess.to_float(images)
    whole, patches = patch_features(visual, batch)
    tokens = visual.ln_post(visual.transformer(visual._embeds(batch)))
    assert torch.allclose(patches, tokens[:, 1:] @ visual.proj, atol=1e-5)
    feature, spatial = (torch.nn.functional.normalize(value, dim=-1) for value in (whole, patches))
    assert torch.allclose(feature, encoder.encode_image(batch, normalize=True), atol=1e-6)
    logits = calip_logits(feature, spatial, zero_shot.text, 0.7, 0.2)
    literal = torch.stack([literal_calip(feature[i], spatial[i], zero_shot.text, 0.7, 0.2) for i in range(3)])
    assert (logits - literal).abs().max() < 1e-4  # of about 100, in float32
    assert (zero_shot.prob(images) - literal.softmax(1)).abs().max() < 1e-5


def test_calip_of_an_encoder_without_patch_features_is_refused(resnet):
    with pytest.raises(ValueError, match="text.zero_shot=calip needs a ViT as text.encoder"):
        ZeroShot(load_encoder(*resnet), CLASSES, PROMPTS, "calip")


def save_as_openai(state, path):
    """A TorchScript archive in the manner of OpenAI's: half precision, three scalars beside the weights."""
    root = torch.nn.Module()
    for name, value in {**state, **dict.fromkeys(SCALARS, torch.tensor(16.0))}.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_buffer(leaf, value.half())
    torch.jit.script(root).save(str(path))


@pytest.mark.filterwarnings("ignore")
def test_weights_come_as_safetensors_state_dict_training_checkpoint_or_openais_archive(tmp_path):
    architecture, path = make_encoder(tmp_path / "quick", "vit", quick_gelu=True)
    state = torch.load(path, weights_only=True)
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "epoch.pt")
    save_as_openai(state, tmp_path / "openai.pt")
    for weights in (path, tmp_path / "a.safetensors", tmp_path / "epoch.pt", tmp_path / "openai.pt"):
        loaded = load_encoder(architecture, str(weights)).state_dict()
        half = Path(weights).stem == "openai"
        assert all(torch.equal(loaded[k], value.half().float() if half else value) for k, value in state.items())
    with pytest.raises(ValueError, match="another activation .*: set text.encoder=ViT-B-32-quickgelu"):
        load_encoder("ViT-B-32", str(tmp_path / "openai.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual.proj"), "Missing key.*visual.proj"),
        (lambda state: state.update({"visual.proj": torch.zeros(32, 31)}), "size mismatch for visual.proj"),
        (lambda state: state.update({"visual.extra": torch.zeros(1)}), "Unexpected key.*visual.extra"),
    ],
)
def test_weights_that_do_not_fit_are_named(vit, tmp_path, change, message):
    architecture, path = vit
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=f"other.pt cannot be read as weights of text.encoder=local-dir.*{message}"):
        load_encoder(architecture, str(tmp_path / "other.pt"))


@pytest.mark.parametrize(
    ("architecture", "weights", "message"),
    [
        ("ViT-B-32", "openai", "another activation .*: set text.encoder=ViT-B-32-quickgelu"),
        ("ViT-B32", "openai", "text.encoder=ViT-B32 .* did you mean ViT-B-32"),
        ("ViT-B-32-quickgelu", "none/there.pt", "neither a local file nor a tag of ViT-B-32-quickgelu: openai, "),
        (f"local-dir:{ROOT}", __file__, "cannot be built"),
    ],
)
def test_names_that_do_not_go_together_are_refused(architecture, weights, message):
    with pytest.raises(ValueError, match=message):
        load_encoder(architecture, weights)


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
