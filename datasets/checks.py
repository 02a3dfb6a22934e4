"""Check whether a data set can be trusted: what its splits hold, and what is wrong with pairs or images.

Start reading at `check`. The thresholds were measured on 211 real pairs (RESIDE's SOTS, one of Dense-Haze) and 200
rendered ones.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import chain, combinations
from pathlib import Path

import cv2
import numpy as np
from scipy import fft
from tqdm import tqdm

from .batches import num_cores
from .images import load, read_image, shrink
from .listing import LAYOUT, fingerprint, list_images
from .pairs import match

KINDS = {  # of defects, in the order in which they are reported
    "missing": "images without a partner",
    "unreadable": "images that cannot be read",
    "unequal": "pairs of unequal sizes",
    "leaked": "clear images in two splits",
    "unrelated": "pairs of two different scenes",
    "shifted": "pairs that are not aligned",
    "swapped": "hazy images that are clearer than their clear ones",
    "identical": "pairs without haze",
    "border": "images with a white border",
}
SIDE = 800  # pixels; larger images are shrunk to it before they are checked
REACH = 48  # pixels, the largest shift that is looked for; smaller images are not compared by their structure
NOISE = 0.3  # gradient in grey levels a pixel that noise and compression make

NO_HAZE = 3.0  # mean difference of the sides in 8-bit levels; sound pairs: at least 12; JPEG of quality 80: 1 to 3
SAME_SCENE = 0.15  # agreement; sound pairs: at least 0.57, haze of transmission 0.02: 0.26; other scenes: at most 0.13
TOO_HAZY = 0.15  # gradient of hazy / clear, below which haze hides the scene; sound pairs of RESIDE: at least 0.3
SHIFTED = 1.5  # pixels; real pairs whose camera moved a little stay below
BETTER = 1.1  # agreement when shifted / as it is; sound pairs: 1; shifted by 2 pixels: at least 1.2
SURE = 0.3  # agreement when shifted; of two scenes: at most 0.29
HAZIER = 1.05  # gradient of hazy / clear; sound pairs: at most 0.9
DARKER = 4.0  # 8-bit levels by which the dark channel of a hazy image is below the clear one's; sound pairs: above it
WHITE, WHITE_SHARE = 245, 0.9  # level and share of the pixels of a border's row; a sky is not below the scene, too
# Correlation of sketches of 32 and of 128 pixels. One picture after JPEG of quality 80 and resizing by 10 %: at least
# 0.99 and 0.85. Photographs from one window, hours apart (RESIDE has them): up to 0.99 and 0.75.
ALIKE, SAME = 0.95, 0.8
FLAT = 0.5  # 8-bit levels of structure below which all pictures look alike


@dataclass(frozen=True)
class Defect:
    """kind: of KINDS. paths: the images to look at, the hazy one first. reason: what is wrong, in words."""

    kind: str
    paths: tuple
    reason: str


@dataclass(frozen=True)
class Split:
    """What a split holds. sizes, formats: how many images are of each. clear: {sketch as bytes: path} without twins."""

    name: str
    num_pairs: int
    sizes: Counter
    formats: Counter
    fingerprint: str
    clear: dict


def find_splits(root):
    """Names of a folder's splits, test last. Raises ValueError if it has no splits."""
    names = [path.parent.name for path in Path(root).glob("*/hazy") if (path.parent / "GT").is_dir()]
    if not names:
        raise ValueError(f"{root} has no splits: {LAYOUT}; a raw release is laid out by --from RAW --to FOLDER")
    return sorted(names, reverse=True)


def check(root, names, max_pixels):
    """The Splits of those names, and their Defects. Raises ValueError naming a folder that has no images."""
    splits, defects = zip(*(check_split(Path(root) / name, max_pixels) for name in names), strict=True)
    leaked = [leaks(one, other) for one, other in combinations(splits, 2)]
    return splits, list(chain(*defects, *leaked))


def check_split(folder, max_pixels):
    """The Split of a folder and its Defects."""
    hazy, clear = (list_images(folder, side) for side in ("hazy", "GT"))
    partners = match(hazy.names, clear.names)
    lonely = [hazy.path(i) for i in np.flatnonzero(partners < 0)]
    lonely += [clear.path(i) for i in np.setdiff1d(np.arange(len(clear)), partners)]
    defects = [Defect("missing", (path,), "has no partner") for path in lonely]
    pairs = [(hazy.path(i), clear.path(partner)) for i, partner in enumerate(partners) if partner >= 0]
    headers, sketches = [], {}
    with ThreadPoolExecutor(num_cores()) as pool:  # decoding and transforms release Python's lock
        results = pool.map(lambda paths: read_pair(paths, max_pixels), pairs)
        for paths, result in tqdm(zip(pairs, results, strict=True), str(folder), len(pairs), unit="pair", disable=None):
            both, clear_sketch, found = result
            headers += both
            sketches.setdefault(clear_sketch.tobytes(), paths[1])
            defects += [Defect(kind, paths, reason) for kind, reason in found]
    sizes = Counter("{1} x {0}".format(*header.size) for header in headers)
    formats = Counter(f"{header.format}, {header.bits} bit" for header in headers)
    return Split(folder.name, len(pairs), sizes, formats, fingerprint(hazy, clear), sketches), defects


def read_pair(paths, max_pixels):
    """Read one pair: both Headers, the clear image's sketch, and (kind, reason) of what is wrong."""
    try:
        headers, images = zip(*(load(path, max_pixels) for path in paths), strict=True)
    except ValueError as error:
        return [], np.zeros(32 * 32, np.float32), [("unreadable", str(error))]
    hazy, clear = (shrink(np.ascontiguousarray(image[:, :, :3]), SIDE) for image in images)
    (h1, w1), (h2, w2) = (header.size for header in headers)
    if (h1, w1) == (h2, w2):
        defects = list(check_pair(hazy, clear, max(h1, w1) / max(hazy.shape[:2])))
    else:
        defects = [("unequal", f"hazy is {w1} x {h1}, clear {w2} x {h2}")]
    return headers, sketch(clear), defects


def check_pair(hazy, clear, scale):
    """Yield (kind, reason) for what is wrong with a pair, H x W x 3 uint8 each. scale: pixels of the file per pixel."""
    for side, width in (("clear", border(clear)), ("hazy", border(hazy))):
        if width:
            yield "border", f"the {side} image has a white border of {round(width * scale)} pixels"
    difference = np.abs(hazy.astype(np.int16) - clear).mean()
    if difference < NO_HAZE:
        yield "identical", "both sides are the same image" + (", compressed otherwise" if difference > 0 else "")
        return
    gradients = gradient(hazy), gradient(clear)
    ratio = np.abs(gradients[0]).mean() / max(np.abs(gradients[1]).mean(), 1e-6)
    if min(hazy.shape[:2]) >= REACH:
        agreement, best, (right, down) = align(*gradients)
        if np.hypot(right, down) >= SHIFTED and best > max(SURE, BETTER * agreement):
            yield "shifted", f"the hazy image is moved by {right * scale:.0f} pixels right, {down * scale:.0f} down"
        elif agreement < SAME_SCENE and ratio > TOO_HAZY:
            yield "unrelated", f"the images have nothing in common (agreement {agreement:.2f})"
            return
    # Haze makes the dark channel bright: the darkest value near each pixel (He, Sun, Tang, CVPR 2009).
    dark_hazy, dark_clear = (cv2.erode(image.min(2), np.ones((9, 9), np.uint8)).mean() for image in (hazy, clear))
    if ratio > HAZIER and dark_hazy - dark_clear < -DARKER:
        yield "swapped", f"the hazy image has {ratio:.2f} times the contrast of the clear one"


def border(image):
    """Width in pixels of a white frame around an image, at its narrowest side; 0 if a side has no border."""
    white = image.min(2) >= WHITE
    if white.all():
        return 0
    widths = [(lines.mean(1) < WHITE_SHARE).argmax() for lines in (white, white[::-1], white.T, white.T[::-1])]
    return min(widths) if min(widths) >= 2 else 0


def gradient(image):
    """Gradient of the brightness of an H x W x 3 uint8 image: H x W complex64, right + i down, grey levels a pixel."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    right, down = (cv2.Sobel(grey, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    return right + 1j * down


def align(hazy, clear):
    """(agreement, best, shift) of two gradients of one size, H x W complex64.

    Haze weakens edges and leaves their places and directions, so directions alone are correlated, at all shifts at once
    (orientation correlation: Fitch, Kadyrov, Christmas, Kittler, BMVC 2002).
    agreement: correlation as the images lie, in [-1, 1]. best: the highest one, when `clear` is moved by `shift`
    (right, down) in pixels.
    """
    # Level strong gradients: structure counts, not contrast, and flat parts count little.
    fields = [field / (abs(field) + np.median(abs(field)) + NOISE) for field in (hazy, clear)]
    size = [fft.next_fast_len(side + REACH) for side in hazy.shape]  # beyond the edge: zeros, not the other edge
    first, second = (fft.fft2(field, size) for field in fields)
    plane = fft.ifft2(first * second.conj()).real
    energy = np.sqrt(np.prod([np.vdot(field, field).real for field in fields]))
    reach = [min(REACH, side // 4) for side in hazy.shape]
    window = np.roll(plane, reach, (0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1] / max(energy, 1e-6)
    row, column = np.unravel_index(window.argmax(), window.shape)
    shift = (int(column) - reach[1], int(row) - reach[0])
    return float(window[reach[0], reach[1]]), float(window[row, column]), shift


def sketch(image, side=32):
    """The fine structure of an H x W x 3 uint8 image at side x side pixels: a vector of length 1, 0 of a flat one."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    fine = (grey - cv2.GaussianBlur(grey, (0, 0), 2.0)).ravel()
    fine -= fine.mean()
    length = np.linalg.norm(fine)
    return fine / length if length > FLAT * side else 0 * fine


def leaks(one, other):
    """Yield a Defect for each clear image of the Split `other` whose picture `one` has, too.

    A picture compressed or resized otherwise has nearly the same sketch; what looks alike is compared at more pixels.
    """

    @cache
    def fine(path):
        return sketch(shrink(read_image(path), SIDE), 128)

    known, new = (np.frombuffer(b"".join(split.clear), np.float32).reshape(-1, 32 * 32) for split in (one, other))
    known_paths = list(one.clear.values())
    for path, alike in zip(other.clear.values(), new @ known.T > ALIKE, strict=True):
        same = [known_paths[i] for i in np.flatnonzero(alike) if fine(known_paths[i]) @ fine(path) > SAME]
        if same:
            yield Defect("leaked", (path, same[0]), f"shows the same picture as {same[0]}")
