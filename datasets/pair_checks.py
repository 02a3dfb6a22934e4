"""What can be wrong with one pair of images. Each threshold says how far from it sound pairs are.

Measured on 211 real pairs (RESIDE's SOTS, one of Dense-Haze) and 200 rendered ones.
"""

import cv2
import numpy as np

from .alignment import align, gradient

SMALLEST = 48  # pixels a side; smaller images are not compared by their structure

NO_HAZE = 3.0  # mean difference of the sides in 8-bit levels; sound pairs: at least 12; JPEG of quality 80: 1 to 3
SAME_SCENE = 0.15  # agreement; sound pairs: at least 0.57, haze of transmission 0.02: 0.26; other scenes: at most 0.13
TOO_HAZY = 0.15  # gradient of hazy / clear, below which the scene cannot be told; sound pairs of RESIDE: at least 0.3
SHIFTED = 1.5  # pixels; real pairs whose camera moved a little stay below
BETTER = 1.1  # agreement when shifted / as it is; sound pairs: 1; shifted by 2 pixels: at least 1.2
SURE = 0.3  # agreement when shifted; of two scenes: at most 0.29
HAZIER = 1.05  # gradient of hazy / clear; sound pairs: at most 0.9
DARKER = 4.0  # 8-bit levels by which the dark channel of a hazy image is below the clear one's; sound pairs: above it
WHITE, WHITE_SHARE = 245, 0.9  # level and share of the pixels of a border's row; a sky is not below the scene, too


def check_pair(hazy, clear, scale):
    """Yield (kind, what is wrong) of a pair, H x W x 3 uint8 each. scale: pixels of the file a pixel."""
    for side, width in (("clear", border(clear)), ("hazy", border(hazy))):
        if width:
            yield "border", f"the {side} image has a white border of {round(width * scale)} pixels"
    difference = np.abs(hazy.astype(np.int16) - clear).mean()
    if difference < NO_HAZE:
        yield "identical", "both sides are the same image" + (", compressed otherwise" if difference > 0 else "")
        return
    gradients = gradient(hazy), gradient(clear)
    ratio = np.abs(gradients[0]).mean() / max(np.abs(gradients[1]).mean(), 1e-6)
    if min(hazy.shape[:2]) >= SMALLEST:
        agreement, best, shift = align(*gradients)
        if np.hypot(*shift) >= SHIFTED and best > max(SURE, BETTER * agreement):
            yield "shifted", f"the hazy image is moved by {moved(shift, scale)} pixels"
        elif agreement < SAME_SCENE and ratio > TOO_HAZY:
            yield "unrelated", f"the images have nothing in common (agreement {agreement:.2f})"
            return
    darkness = dark_channel(hazy) - dark_channel(clear)
    if ratio > HAZIER and darkness < -DARKER:
        yield "swapped", f"the hazy image has {ratio:.2f} times the contrast of the clear one"


def moved(shift, scale):
    """A shift in words, such as "3 left, 2 down"."""
    names = (("left", "right"), ("up", "down"))
    return ", ".join(
        f"{abs(round(way * scale))} {names[axis][way > 0]}" for axis, way in enumerate(shift) if round(way * scale)
    )


def dark_channel(image):
    """Mean over the image of the darkest value near each pixel (He, Sun, Tang, CVPR 2009): haze makes it bright."""
    return cv2.erode(image.min(2), np.ones((9, 9), np.uint8)).mean()


def border(image):
    """Width in pixels of a white frame around an image: its narrowest side's; 0 where a side has none."""
    white = image.min(2) >= WHITE
    if white.all():
        return 0
    widths = []
    for lines in (white, white[::-1], white.T, white.T[::-1]):
        dark = np.flatnonzero(lines.mean(1) < WHITE_SHARE)
        widths.append(int(dark[0]) if len(dark) else 0)
    return min(widths) if min(widths) >= 2 else 0
