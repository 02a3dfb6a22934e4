"""Properties that hold for any sizes, batches, crops and images that hypothesis thinks of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.augment import augment
from datasets.images import to_image, to_tensor
from datasets.order import TrainingOrder, same_size_batches
from models import build_model
from models.build import MERGES
from models.fusion import FUSIONS

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
