"""The results of an earlier test in the same folder: those of another test are not replaced."""

import json
import shutil

from ..settings import Test

FREE = ("batch", "images", "precision", "engine")  # `test` settings that change no score by more than rounding


def refuse_another_test(folder, settings, checkpoint, fingerprint):
    """Raise ValueError where a folder holds the results of another test, whose scores would be lost.

    settings: the `test` settings. checkpoint: a path as text. fingerprint: of the images.
    """
    try:
        earlier = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        tested = earlier["settings"]["test"]
        before = {f"test.{key}": tested.get(key, value) for key, value in vars(Test()).items() if key not in FREE}
        before |= {"checkpoint": earlier["checkpoint"]["path"]}
        other_images = earlier["data"]["fingerprint"] != fingerprint
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # nothing that could be lost
        return
    now = {f"test.{key}": value for key, value in vars(settings).items()} | {"checkpoint": checkpoint}
    changed = [f"{key}={value}" for key, value in before.items() if value != now[key]] + ["other images"] * other_images
    if changed:
        raise ValueError(
            f"{folder} holds results with {', '.join(changed)}: add run=NAME checkpoint={checkpoint}, or move it away"
        )


def set_aside(images):
    """Move the pictures of an earlier test away, lest they pass for this one's."""
    earlier = images.with_name("images-earlier")
    if images.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        images.replace(earlier)
        print(f"note: the pictures of an earlier test are now in {earlier}")
