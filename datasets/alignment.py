"""How far the structures of two images agree, and by what shift they agree best.

Haze weakens a scene's edges and leaves their places and directions. So the images are compared by the directions of
their gradients alone (orientation correlation: Fitch, Kadyrov, Christmas, Kittler, BMVC 2002), at all shifts at once.
"""

import cv2
import numpy as np
from scipy import fft

REACH = 48  # pixels, of the shifts that are looked at
NOISE = 0.3  # gradient in grey levels a pixel that noise and compression make


def gradient(image):
    """Gradient of the brightness of an H x W x 3 uint8 image: H x W complex64, right + i down, grey levels a pixel."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    right, down = (cv2.Sobel(grey, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    return right + 1j * down


def align(hazy, clear):
    """(agreement, best, shift) of two gradients of one size, H x W complex64.

    agreement: correlation as the images lie, in [-1, 1]. best: the highest one, when `clear` is moved by `shift`
    (right, down) in pixels.
    """
    fields = [directions(gradient) for gradient in (hazy, clear)]
    size = [fft.next_fast_len(side + REACH) for side in hazy.shape]  # beyond the edge: zeros, not the other edge
    first, second = (fft.fft2(field, size) for field in fields)
    plane = fft.ifft2(first * second.conj()).real
    energy = np.sqrt(np.prod([np.vdot(field, field).real for field in fields]))
    reach = [min(REACH, side // 4) for side in hazy.shape]
    window = np.roll(plane, reach, (0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1] / max(energy, 1e-6)
    row, column = np.unravel_index(window.argmax(), window.shape)
    shift = (int(column) - reach[1], int(row) - reach[0])
    return float(window[reach[0], reach[1]]), float(window[row, column]), shift


def directions(gradient):
    """The gradient, levelled where it is strong: structure counts, not contrast, and flat parts count little."""
    strength = abs(gradient)
    return gradient / (strength + np.median(strength) + NOISE)
