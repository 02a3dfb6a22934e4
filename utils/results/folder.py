"""The folder that a test writes: results/<run>-<split>."""

import shutil
from collections import Counter
from pathlib import Path

from ..settings import Test, marked
from .tables import read_metrics


def results_folder(run, split, settings, checkpoint, fingerprint):
    """Make results/<run>-<split> before the scoring, and move the pictures of an earlier test aside.

    settings: the `test` settings. checkpoint: its path, or None. fingerprint: of the split's images.
    Raises ValueError where the folder cannot be made, or holds the results of another test.
    """
    folder = Path("results") / f"{run}-{split}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        reason = f"{folder} cannot be made ({error.strerror})"
        raise ValueError(f"{reason}: move what is in its way, or set run=NAME") from None
    now = facts(settings, checkpoint, fingerprint)
    before = facts_of(folder) or now
    changed = [f"{key}={before[key]}" for key in now if before[key] != now[key] and key not in marked("speed")]
    if changed:
        named = f" checkpoint={checkpoint}" if checkpoint else ""
        raise ValueError(f"{folder} holds results with {', '.join(changed)}: add run=NAME{named}, or move it away")
    images, earlier = folder / "images", folder / "images-earlier"
    if images.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        images.replace(earlier)
        print(f"note: the pictures of an earlier test are now in {earlier}")
    return folder


def facts_of(folder):
    """The `facts` of the results that a folder holds; None where it holds none."""
    try:
        metrics = read_metrics(folder)
    except ValueError:  # nothing that could be lost
        return None
    settings = {key: metrics["settings"]["test"].get(key, default) for key, default in vars(Test()).items()}
    return facts(Test(**settings), (metrics["checkpoint"] or {}).get("path"), metrics["data"]["fingerprint"])


def facts(settings, checkpoint, fingerprint):
    """What makes a test another one, as {name: value}."""
    tested = {f"test.{key}": value for key, value in vars(settings).items()}
    return tested | {"checkpoint": checkpoint, "images": fingerprint}


def image_names(names):
    """The PNG file of each image: NAME.png in place of NAME.jpg, but NAME.jpg.png where two images share NAME."""
    shared = Counter(Path(name).stem for name in names)
    return [f"{Path(name).stem if shared[Path(name).stem] == 1 else name}.png" for name in names]
