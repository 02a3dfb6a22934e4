"""How many defects check_data.py finds in a spoiled copy of a sound data set, and how many it invents.

    python -m benchmarks.spoil data/RESIDE-IN --to /tmp/spoiled              8 pairs of each kind
    python -m benchmarks.spoil data/RESIDE-IN --to /tmp/spoiled --each 20 --seed 1

Prints precision (the share of the told defects that concern a spoiled pair) and recall (the share of the spoiled pairs
that are told, as what they are). A pair given another scene's clear image also makes that one occur twice, which counts
as right. Needs splits train and test, with enough pairs in train.
"""

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np

from datasets.checks import check, find_splits
from datasets.images import read_image, write_image
from datasets.pairs import scene

SHIFTS = ((2, 0), (0, -2), (-3, 2), (4, 4), (-6, 0), (0, 8), (10, -5), (-12, 12))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set without defects")
    parser.add_argument("--to", type=Path, required=True, help="folder for the spoiled copy, which must not exist")
    parser.add_argument("--each", type=int, default=8, help="defects of each kind (8)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.to.exists():
        parser.error(f"{args.to} exists: choose another place")
    names = find_splits(args.data)
    invented = check(args.data, names)[2]
    print(f"{args.data}: {len(invented)} defects told of the sound set")
    shutil.copytree(args.data, args.to)
    made = spoil(args.to, np.random.default_rng(args.seed), args.each)
    told = check(args.to, names)[2]
    evaluate(made, told)


def spoil(root, rng, each):
    """Make `each` defects of every kind below `root`; returns {path of a spoiled image: kind}."""
    kinds = {**CHANGES, **COPIES}
    hazy = list(map(Path, rng.permutation(sorted(map(str, (root / "train" / "hazy").iterdir())))))
    if len(hazy) < (len(kinds) + 1) * each:
        raise SystemExit(f"{root} has {len(hazy)} training pairs, too few for {each} defects of {len(kinds)} kinds")
    made = {}
    for number, (name, change) in enumerate(CHANGES.items()):
        for i, path in enumerate(hazy[number * each : (number + 1) * each]):
            clear = path.parent.parent / "GT" / path.name
            images = read_image(path), read_image(clear)
            for file, image in zip((path, clear), change(*images, i, stranger(path, hazy)), strict=True):
                if image is not None:
                    save(file, image, 95)
            made[path] = name.split(",")[0]
    for name, (split, quality, scale) in COPIES.items():
        for path in [hazy.pop() for _ in range(each)]:
            for side in ("hazy", "GT"):
                source = path.parent.parent / side / path.name
                target = root / split / side / f"again-{len(made)}{path.suffix if scale == 1 else '.jpg'}"
                if scale == 1:
                    shutil.copyfile(source, target)
                else:
                    image = cv2.resize(read_image(source), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                    save(target, image, quality)
            made[root / split / "hazy" / target.name] = name.split(",")[0]
    return made


def stranger(path, others):
    """The clear image of another scene, resized to the size of this one."""
    after = others[others.index(path) :] + others
    other = next(other for other in after if scene(other.name) != scene(path.name))
    height, width = read_image(path).shape[:2]
    return cv2.resize(read_image(other.parent.parent / "GT" / other.name), (width, height))


def shifted(hazy, clear, i, _):
    right, down = SHIFTS[i % len(SHIFTS)]
    matrix = np.float32([[1, 0, right], [0, 1, down]])
    return cv2.warpAffine(hazy, matrix, hazy.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), clear


def bordered(hazy, clear, i, _):
    width = 3 + 2 * (i % 5)
    inside = clear[width:-width, width:-width]
    return hazy, cv2.copyMakeBorder(inside, *[width] * 4, cv2.BORDER_CONSTANT, value=[255] * 3)


CHANGES = {  # kind as check_data.py tells it, and how; what becomes of the hazy and the clear image
    "shifted, by 2 to 12 pixels": shifted,
    "swapped": lambda hazy, clear, i, _: (clear, hazy),
    "identical": lambda hazy, clear, i, _: (clear, clear),
    "border, of 3 to 11 pixels": bordered,
    "unrelated, the clear image of another scene": lambda hazy, clear, i, stranger: (hazy, stranger),
    "unequal": lambda hazy, clear, i, _: (hazy[:-2], clear),
}
COPIES = {  # kind, and how: the split that a training pair is copied into, JPEG quality, scale
    "leaked, the same file": ("test", None, 1),
    "leaked, JPEG 80 and 90 % of the size": ("test", 80, 0.9),
    "leaked, JPEG 80 and 110 % of the size": ("test", 80, 1.1),
    "repeated, JPEG 80 and 90 % of the size": ("train", 80, 0.9),
}


def save(path, image, quality):
    """Write H x W x 3 RGB under the name's format; quality: of a JPEG."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        path.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes())
    else:
        write_image(path, image)


def evaluate(made, told):
    """Print how many defects of each kind were made and told, precision and recall."""
    kinds = {place(path): kind for path, kind in made.items()}
    found = {(place(path), defect.kind) for defect in told for path in defect.paths}
    for kind in dict.fromkeys(kinds.values()):
        places = [spoiled for spoiled, its in kinds.items() if its == kind]
        missed = [f"{split}/{stem}" for split, stem in places if ((split, stem), kind) not in found]
        print(f"  {kind:10} {len(places):4} made, {len(places) - len(missed):4} told {', '.join(missed)}")
    wrong = [defect for defect in told if not any(place(path) in kinds for path in defect.paths)]
    for defect in wrong:
        print(f"  invented: {defect.name} is told to be {defect.kind}: {defect.says}")
    num_found = sum((spoiled, kind) in found for spoiled, kind in kinds.items())
    print(f"precision {len(told) - len(wrong)} / {len(told)}, recall {num_found} / {len(kinds)}")


def place(path):
    """Split and stem: what the images of a pair share."""
    return path.parent.parent.name, path.stem


if __name__ == "__main__":
    main()
