"""PSNR and SSIM in the protocol of the DehazeFormer family: one value an image, whole image, RGB, not quantised."""

import torch
from torch.nn import functional as F

PROTOCOL = "DehazeFormer family: RGB, float, whole image; SSIM after adaptive average pooling by round(min(H, W) / 256)"


def psnr(output, target):
    """Peak signal-to-noise ratio in dB: 10 log10(1 / mse) over all pixels and channels; infinite for equal images.

    output, target: B x 3 x H x W in [0, 1]. Returns B float64 values.
    """
    return -10 * (output.double() - target.double()).square().mean((1, 2, 3)).log10()


def ssim(output, target):
    """Structural similarity (Wang et al., 2004) of the images pooled to about 256 pixels on the shorter side.

    output, target: B x 3 x H x W in [0, 1]. Returns B float64 values. Window 11, sigma 1.5, valid convolution, K1 0.01,
    K2 0.03, biased covariance. float64 throughout: low-precision convolution modes must not reach a metric.
    Images whose pooled side is under 11 pixels are extended by reflection to the window.
    """
    x, y = (pool(image.double()) for image in (output, target))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    var_x, var_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean((1, 2, 3))


def pool(image):
    """Average pooling by round(min(H, W) / 256), Python's round (1.5 -> 2, 2.5 -> 2), at least 1."""
    height, width = image.shape[2:]
    ratio = max(1, round(min(height, width) / 256))
    image = F.adaptive_avg_pool2d(image, (int(height / ratio), int(width / ratio))) if ratio > 1 else image
    for axis in (2, 3):
        side = image.shape[axis]
        if side < 11:
            index = torch.arange(11, device=image.device) % max(2 * side - 2, 1)
            image = image.index_select(axis, torch.minimum(index, (2 * side - 2 - index).abs()))
    return image


def blur(image, size=11, sigma=1.5):
    """Separable Gaussian window, valid convolution: B x C x H x W to B x C x (H - 10) x (W - 10)."""
    offset = torch.arange(size, dtype=image.dtype, device=image.device) - size // 2
    window = torch.exp(-offset.square() / (2 * sigma**2))
    window = (window / window.sum()).expand(image.shape[1], 1, 1, size)
    image = F.conv2d(image, window, groups=image.shape[1])
    return F.conv2d(image, window.transpose(2, 3), groups=image.shape[1])
