"""Clear images that occur more than once: the same file, or the same picture compressed or resized otherwise.

A picture is told by its sketch: the fine brightness structure at 32 x 32 pixels, as a unit vector. Sketches of one
picture after JPEG of quality 80 and resizing by 10 % correlate by at least 0.99; so do some of two photographs from one
window, hours apart (RESIDE has them), so pairs of sketches are confirmed at 128 x 128: there one picture reaches 0.85,
two photographs from one window 0.75.
"""

import cv2
import numpy as np

from .pairs import scene

SIDE, FINE_SIDE = 32, 128  # pixels of a sketch
ALIKE, SAME = 0.95, 0.8  # correlation of sketches at SIDE and at FINE_SIDE, from which pictures are one
FLAT = 0.5  # 8-bit levels of structure below which a picture cannot be told from another
ROWS = 512  # sketches that are compared at once with all


def sketch(image, side=SIDE):
    """The fine structure of an H x W x 3 uint8 image: side * side float32 of length 1, or 0 where there is none."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 2.0)
    fine -= fine.mean()
    length = np.linalg.norm(fine)
    return fine.ravel() / length if length > FLAT * side else np.zeros(side * side, np.float32)


class ClearImages:
    """The clear images of a set as they come. Each distinct file is kept once, in 2 KB, with the pairs that have it."""

    def __init__(self):
        self.places, self.sketches = {}, []

    def __contains__(self, digest):
        return digest in self.places

    def add(self, digest, place, sketch):
        """digest: of the file's content. place: (split, name, path). sketch: needed of the first with its digest."""
        if digest not in self.places:
            self.sketches.append(sketch.astype(np.float16))
        self.places.setdefault(digest, []).append(place)

    def duplicates(self, read):
        """Yield (place, earlier place, exact) of clear images that occur again where the names do not say so.

        One scene in one split is expected: it has several hazy images, and its clear one a name for each. Anything else
        is yielded once for each scene and split. read: from a path to H x W x 3 uint8.
        """
        groups = list(self.places.values())
        for group in groups:
            for place in apart(group[:1], group):
                yield place, group[0], True
        for number, candidates in enumerate(self.alike()):
            one = next((i for i in candidates if confirmed(groups[i][0], groups[number][0], read)), None)
            for place in apart(groups[one], groups[number]) if one is not None else ():
                yield place, groups[one][0], False

    def alike(self):
        """For each distinct file, the indices of the earlier ones whose sketches agree with its own."""
        sketches = np.array(self.sketches, np.float16).reshape(-1, SIDE * SIDE)
        blocks = [sketches[start : start + ROWS].astype(np.float32) for start in range(0, len(sketches), ROWS)]
        for number, block in enumerate(blocks):
            agreement = np.concatenate([block @ other.T for other in blocks[: number + 1]], axis=1)
            for row, values in enumerate(agreement, number * ROWS):
                yield np.flatnonzero(values[:row] > ALIKE)


def confirmed(place, other, read):
    """Whether the pictures of two places are the same at more pixels, too."""
    first, second = (sketch(read(path), FINE_SIDE) for _, _, path in (place, other))
    return first @ second > SAME


def apart(group, places):
    """The first place of each scene and split among `places` that is not one of the group's."""
    found = {(place[0], scene(place[1])): place for place in reversed(places)}
    known = {(split, scene(name)) for split, name, _ in group}
    return [place for key, place in sorted(found.items()) if key not in known]
