"""Properties that hold for anything: sizes, batches, crops, settings and images that hypothesis thinks of."""

import dataclasses
import typing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from datasets.augment import augment
from datasets.images import to_image, to_tensor
from datasets.order import TrainingOrder, same_size_batches
from models import build_model
from models.build import MERGES
from models.fusion import FUSIONS
from utils.config import choices, from_plain, load_config, to_yaml
from utils.metrics import pool, psnr, ssim
from utils.settings import Config, check, fields

RANGES = {key: metadata["range"] for key, _, metadata in fields(Config()) if "range" in metadata}
few = settings(max_examples=25, deadline=None)
side = st.integers(1, 90)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("merge", MERGES)
@settings(max_examples=4, deadline=None)
@given(height=side, width=side, batch=st.integers(1, 3), classes=st.integers(2, 4), data=st.data())
def test_any_size_and_batch_keeps_its_shape_and_is_finite(fusion, merge, height, width, batch, classes, data):
    seed = data.draw(st.integers(0, 99))
    torch.manual_seed(seed)
    text = torch.nn.functional.normalize(torch.randn(classes, 16), dim=1)
    network = build_model("n", fusion, merge, text).eval()
    scale = data.draw(st.sampled_from([0.0, 1.0, -1.0, 1e-30]))  # constant images, too
    hazy = (torch.rand(batch, 3, height, width) * 2 - 1) * scale
    prob = torch.softmax(torch.randn(batch, classes) * data.draw(st.sampled_from([0, 1, 100])), dim=1)
    with torch.inference_mode():
        output = network(hazy, prob)
        alone = network(hazy[:1], prob[:1])
    assert output.shape == hazy.shape and output.isfinite().all()
    assert torch.allclose(output[:1], alone, atol=1e-4)  # an image's output does not depend on its neighbours


@few
@given(
    height=side, width=side, crop=st.integers(1, 64), decay=st.floats(0, 1), flip=st.booleans(), rotate=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_pairs_stay_aligned_and_show_the_image(height, width, crop, decay, flip, rotate, seed):
    places = np.arange(height * width, dtype=np.int64).reshape(height, width, 1)
    first, second = augment([places, 7 * places + 1], np.random.default_rng(seed), crop, decay, flip, rotate)
    assert first.shape == second.shape == (crop, crop, 1)
    assert np.array_equal(second, 7 * first + 1)
    again = augment([places], np.random.default_rng(seed), crop, decay, flip, rotate)[0]
    assert np.array_equal(again, first)
    if crop <= min(height, width):
        assert len(np.unique(first)) == crop**2  # every pixel once


@few
@given(images=st.integers(1, 40), batch=st.integers(1, 12), seed=st.integers(0, 9), steps=st.integers(1, 12), cut=side)
def test_every_image_comes_once_an_epoch_wherever_a_run_was_cut(images, batch, seed, steps, cut):
    cut = min(cut, steps)
    whole = [sample for step in TrainingOrder(images, batch, seed, 0, steps) for sample in step]
    parts = (TrainingOrder(images, batch, seed, *span) for span in ((0, cut), (cut, steps)))
    assert whole == [sample for part in parts for step in part for sample in step]
    for start in range(0, len(whole) - images + 1, images):
        assert sorted(image for image, _ in whole[start : start + images]) == list(range(images))


@few
@given(sizes=st.lists(st.tuples(*[st.integers(1, 3)] * 2)), batch=st.integers(1, 4), world=st.integers(1, 4))
def test_every_image_is_scored_once_whatever_the_batches_and_processes(sizes, batch, world):
    batches = [part for rank in range(world) for part in same_size_batches(sizes, batch, rank, world)]
    assert sorted(index for part in batches for index in part) == list(range(len(sizes)))
    assert all(len({sizes[i] for i in part}) == 1 and len(part) <= batch for part in batches)


@few
@given(height=side, width=side, wide=st.booleans(), seed=st.integers(0, 99))
def test_pixels_survive_the_way_to_a_tensor_and_back(height, width, wide, seed):
    dtype = np.uint16 if wide else np.uint8
    image = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)
    assert np.array_equal(to_image(to_tensor(image), dtype), image)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
SIDES = st.sampled_from(["crop", "frame"]) | st.integers(40, 65536)
NAMES = st.text("abcXYZ019-_ü雾", max_size=12).map(lambda text: f"a{text}")  # what reads as a number is one
SPECIAL = {
    "run": NAMES, "data.train": NAMES, "data.test": NAMES,
    "model.window": SIDES, "test.window": SIDES,
    "data.val": st.floats(0.01, 0.99) | NAMES,
    "data.haze_strength": st.lists(st.floats(0, 1), min_size=2, max_size=2).map(lambda ends: tuple(sorted(ends))),
    "text.prompt": TEXTS.map(lambda text: f"{text} {{class}}") | st.tuples(TEXTS.map(lambda text: text + "{class}")),
    "text.classes": st.lists(TEXTS, min_size=2, max_size=4, unique=True).map(tuple),
    "train.accumulate": st.just(1),
}  # fmt: skip


def values(kind, prefix=""):
    """A strategy for settings that are allowed."""
    fields = {}
    for name, hint in typing.get_type_hints(kind).items():
        key = f"{prefix}{name}"
        options = typing.get_args(hint) or (hint,)
        if dataclasses.is_dataclass(hint):
            fields[name] = values(hint, f"{key}.")
        elif key in SPECIAL:
            fields[name] = SPECIAL[key]
        elif choices(hint):
            fields[name] = st.sampled_from(choices(hint))
        elif key in RANGES:
            low, high = RANGES[key]
            fields[name] = st.integers(int(low), int(high)) if int in options else st.floats(low, high)
        else:
            fields[name] = st.booleans() if bool in options else TEXTS
        if type(None) in options:
            fields[name] |= st.none()
    return st.builds(kind, **fields)


@few
@given(config=values(Config))
def test_any_settings_survive_yaml(tmp_path_factory, config):
    check(config)
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config == from_plain(dataclasses.asdict(config))


@few
@given(
    height=st.integers(11, 200), width=st.integers(11, 200), batch=st.integers(1, 2),
    noise=st.sampled_from([0.001, 0.05, 0.5]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_scores_are_scikit_images(height, width, batch, noise, seed):
    rng = np.random.default_rng(seed)
    clear = rng.random((batch, height, width, 3))
    output = np.clip(clear + noise * rng.standard_normal(clear.shape), 0, 1)
    a, b = (torch.from_numpy(image).permute(0, 3, 1, 2) for image in (output, clear))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    for i in range(batch):
        pooled = (pool(image)[i].permute(1, 2, 0).numpy() for image in (a, b))
        expected = peak_signal_noise_ratio(clear[i], output[i], data_range=1)
        assert psnr(a, b)[i].item() == pytest.approx(expected, abs=1e-9)
        expected = structural_similarity(*pooled, data_range=1, **options)
        assert ssim(a, b)[i].item() == pytest.approx(expected, abs=2e-6)
