"""PSNR and SSIM follow the published protocol."""

import json
import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from tests import reference
from utils.metrics import pool, psnr, ssim

EXPECTED = json.loads((reference.DATA / "metrics.json").read_text())


@pytest.mark.parametrize("size", EXPECTED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scores_are_the_reference_ones(size, dtype):
    output, target = (image.to(dtype) for image in reference.metric_pair(*map(int, size.split("x"))))
    assert psnr(output, target).item() == pytest.approx(EXPECTED[size]["psnr"], abs=1e-5)
    assert ssim(output, target).item() == pytest.approx(EXPECTED[size]["ssim"], abs=1e-5)


def test_ssim_is_scikit_images_on_the_pooled_images():
    output, target = reference.metric_pair(400, 420)
    pooled = (pool(image)[0].permute(1, 2, 0).numpy() for image in (output, target))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    assert ssim(output, target).item() == pytest.approx(
        structural_similarity(*pooled, data_range=1, **options), abs=1e-5
    )


def test_one_value_an_image_whatever_the_batch():
    output, target = torch.rand(2, 3, 64, 48), torch.rand(2, 3, 64, 48)
    for metric in (psnr, ssim):
        alone = [metric(output[i : i + 1], target[i : i + 1]).item() for i in range(2)]
        assert metric(output, target).tolist() == pytest.approx(alone, abs=1e-12)


def test_equal_images():
    image = torch.rand(1, 3, 32, 32)
    assert psnr(image, image).item() == math.inf
    assert ssim(image, image).item() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 3)])
def test_images_smaller_than_the_window_are_scored(shape):
    image = torch.rand(1, 3, *shape)
    assert ssim(image, image).item() == pytest.approx(1)
    assert np.isfinite(ssim(image, 1 - image).item())
