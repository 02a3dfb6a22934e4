"""Check whether a data set can be trusted: what its splits hold, and what is wrong with pairs or images.

Start reading at `check`. Every file is read once, by threads, for its fingerprint and its checks. The thresholds were
measured on 211 real pairs (RESIDE's SOTS, one of Dense-Haze) and 200 rendered ones.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
from scipy import fft
from tqdm import tqdm

from .batches import num_cores
from .fingerprint import combine, entry
from .images import file_format, image_size, read_small
from .listing import LAYOUT, list_images
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
SMALLEST = 48  # pixels a side; smaller images are not compared by their structure
REACH = 48  # pixels, the largest shift that is looked for
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
ROWS = 512  # sketches that are compared at once


@dataclass(frozen=True)
class Defect:
    """kind: of KINDS. paths: the images to look at, the hazy one first. reason: what is wrong, in words."""

    kind: str
    paths: tuple
    reason: str


@dataclass
class Split:
    """What a split holds. sizes, formats: how many images have each (height, width), and format with bits a channel.

    clear: {digest: (path, sketch)} of the distinct clear images.
    """

    name: str
    num_pairs: int = 0
    sizes: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    fingerprint: str = ""
    clear: dict = field(default_factory=dict)


def find_splits(root):
    """Names of a folder's splits, train first and test last. Raises ValueError if it has no splits."""
    root = Path(root)
    names = [path.parent.name for path in root.glob("*/hazy") if (path.parent / "GT").is_dir()]
    if not names:
        raise ValueError(f"{root} has no splits: {LAYOUT}; a raw release is laid out by --from RAW --to FOLDER")
    return sorted(names, key=lambda name: (name == "test", name != "train", name))


def check(root, names, max_pixels):
    """The Splits of those names, and the Defects in the order of KINDS.

    Raises ValueError naming a folder that is missing or holds no images.
    """
    splits, defects = [], []
    for name in names:
        split, found = check_split(Path(root) / name, max_pixels)
        splits.append(split)
        defects += found
    for one, other in combinations(splits, 2):
        defects += leaks(one, other)
    return splits, sorted(defects, key=lambda defect: list(KINDS).index(defect.kind))


def check_split(folder, max_pixels):
    """The Split of a folder and its Defects."""
    hazy, clear = (list_images(folder, side) for side in ("hazy", "GT"))
    partners = match(hazy.all_names(), clear.all_names())
    lonely = [hazy.path(i) for i in np.flatnonzero(partners < 0)]
    lonely += [clear.path(i) for i in np.setdiff1d(np.arange(len(clear)), partners)]
    defects = [Defect("missing", (path,), "has no partner") for path in lonely]
    pairs = [(hazy.path(i), clear.path(partner)) for i, partner in enumerate(partners) if partner >= 0]
    split, entries = Split(folder.name, len(pairs)), []
    with ThreadPool(num_cores()) as pool:  # decoding and transforms release Python's lock
        results = pool.imap(lambda paths: read_pair(paths, max_pixels), pairs, 16)
        for paths, result in tqdm(zip(pairs, results, strict=True), str(folder), len(pairs), unit="pair", disable=None):
            if isinstance(result, str):
                defects.append(Defect("unreadable", paths, result))
                continue
            pair_entries, size, formats, sketch, found = result
            entries += pair_entries
            split.sizes[size] += 1
            split.formats.update(formats)
            split.clear.setdefault(pair_entries[1].rsplit("\0", 1)[1], (paths[1], sketch))
            defects += [Defect(kind, paths, reason) for kind, reason in found]
    split.fingerprint = combine(entries)
    return split, defects


def read_pair(paths, max_pixels):
    """Read one pair: two entries for the fingerprint, size, two formats, the clear image's sketch, and its defects.

    Defects are (kind, reason). Returns the reason alone, a string, for a pair that cannot be read.
    """
    try:
        sizes = [image_size(path, max_pixels) for path in paths]
        contents = [path.read_bytes() for path in paths]
        hazy, clear = map(read_small, paths, (SIDE, SIDE), contents)
        formats = ["{}, {} bit".format(*file_format(content)) for content in contents]
    except (ValueError, OSError) as error:
        return str(error)
    entries = [entry(path.parent.name, path.name, content) for path, content in zip(paths, contents, strict=True)]
    if sizes[0] == sizes[1]:
        defects = list(check_pair(hazy, clear, max(sizes[0]) / max(hazy.shape[:2])))
    else:
        (h1, w1), (h2, w2) = sizes
        defects = [("unequal", f"hazy is {w1} x {h1}, clear {w2} x {h2}")]
    return entries, sizes[0], formats, sketch(clear), defects


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
    if min(hazy.shape[:2]) >= SMALLEST:
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
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 2.0)
    fine -= fine.mean()
    length = np.linalg.norm(fine)
    return (fine.ravel() / length if length > FLAT * side else np.zeros(side * side)).astype(np.float16)


def leaks(one, other):
    """Yield a Defect for each clear image of the Split `other` that `one` has, too: as a file, or as a picture.

    A picture compressed or resized otherwise has nearly the same sketch; what looks alike is compared at more pixels.
    """
    for digest in sorted(one.clear.keys() & other.clear.keys()):
        path, known_path = other.clear[digest][0], one.clear[digest][0]
        yield Defect("leaked", (path, known_path), f"is the same file as {known_path}")
    known = list(one.clear.values())
    new = [clear for digest, clear in other.clear.items() if digest not in one.clear]
    sketches, found = np.array([clear[1] for clear in new], np.float32), set()
    for start in range(0, len(known) if new else 0, ROWS):
        block = np.array([clear[1] for clear in known[start : start + ROWS]], np.float32)
        for row, column in np.argwhere(block @ sketches.T > ALIKE):
            paths = new[column][0], known[start + row][0]
            fine = [sketch(read_small(path, SIDE), 128).astype(np.float32) for path in paths]
            if column not in found and fine[0] @ fine[1] > SAME:
                found.add(column)
                yield Defect("leaked", paths, f"shows the same picture as {paths[1]}")
