"""PSNR and SSIM follow the published protocol."""

import json
import math

import numpy as np
import pytest
import torch

from tests import reference
from utils.metrics import psnr, ssim

EXPECTED = json.loads((reference.DATA / "metrics.json").read_text())


@pytest.mark.parametrize("size", EXPECTED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scores_are_the_reference_ones(size, dtype):
    output, target = (image.to(dtype) for image in reference.metric_pair(*map(int, size.split("x"))))
    assert psnr(output, target).item() == pytest.approx(EXPECTED[size]["psnr"], abs=1e-5)
    assert ssim(output, target).item() == pytest.approx(EXPECTED[size]["ssim"], abs=1e-5)


def test_equal_images():
    image = torch.rand(1, 3, 32, 32)
    assert psnr(image, image).item() == math.inf
    assert ssim(image, image).item() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 3)])
def test_images_smaller_than_the_window_are_scored(shape):
    image = torch.rand(1, 3, *shape)
    assert ssim(image, image).item() == pytest.approx(1)
    assert np.isfinite(ssim(image, 1 - image).item())
