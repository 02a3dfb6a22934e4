"""A run of a comparison: a results folder of test.py, read, and what sets two of them apart."""

import csv
import json
import math
from pathlib import Path

from ..checkpoint import LAST_STEP
from ..settings import flatten

SAME_PSNR = 1e-4  # smaller differences are rounding, such as that of another batch size
NOT_COMPARED = ("run", "seed", "device", "checkpoint")  # these differ between the runs of one configuration
# So may these, which set speed, memory and logs. Between two configurations they are told.
NO_MATTER = ("kernels", "data.workers", "data.max_pixels", "train.save_every", "train.log_every", "text.batch")
NO_MATTER += ("test.batch", "test.images")
# Of these only the last name counts within one configuration: another machine keeps the same set in another folder.
PATHS = ("data.root", "data.root in the test", "model.init", "text.weights", "text.weights in the test", "loss.weights")
# Settings outside of `test` that decide which domains a test tells the network; the training's may differ.
TOLD = ("data.root", "text.encoder", "text.weights", "text.prompt", "text.zero_shot", "text.beta2", "text.beta3")
TOLD += ("text.labels",)


def read_run(folder):
    """A results folder of test.py: {"protocol", "settings", "fingerprint", "sha256", "checkpoint", "rows"}.

    settings: {dotted key: value} of the training and the test, and the checkpoint's "selection" and "step". What older
    results do not hold is not among them. rows: {name: row with numbers}.
    """
    folder = Path(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        with open(folder / "results.csv", encoding="utf-8", newline="") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
        for row in rows.values():
            row |= {metric: float(row[metric]) for metric in ("psnr", "ssim", "input_psnr", "input_ssim")}
            if math.isnan(row["psnr"]):
                raise ValueError(f"the PSNR of {row['name']} is nan")
        settings = dict(flatten({**(metrics["trained_with"] or {}), "test": metrics["settings"]["test"]}))
        tested = dict(flatten(metrics["settings"]))
        settings |= {f"{key} in the test": tested[key] for key in TOLD if key in tested}
        checkpoint = metrics.get("checkpoint") or {}
        chosen = {"selection": metrics.get("selection"), "step": checkpoint.get("step")}
        settings |= {key: value for key, value in chosen.items() if value is not None}  # None: older, or published
        sha256 = str(checkpoint.get("sha256") or "")
        return {
            "protocol": metrics["protocol"],
            "settings": settings,
            "fingerprint": metrics.get("data", {}).get("fingerprint"),
            "sha256": sha256,
            "checkpoint": f"{checkpoint.get('path')}, SHA-256 {sha256[:8]}",
            "rows": rows,
        }
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no results folder of test.py: {error.filename} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise ValueError(f"{folder} cannot be read as results of test.py ({error!r}): run test.py again") from None


def refuse_different(first, one, folder, other):
    """Raise ValueError when two runs were scored by different protocols or on different images."""
    if one["protocol"] != other["protocol"]:
        raise ValueError(
            f"{first} and {folder} were scored by different protocols ({one['protocol']} | {other['protocol']}): "
            "score both with the same test.py"
        )
    unshared = sorted(set(one["rows"]) ^ set(other["rows"]))
    if unshared:
        raise ValueError(
            f"{first} ({len(one['rows'])} images) and {folder} ({len(other['rows'])}) hold different images, "
            f"first {unshared[0]}: score both on one split"
        )
    digits = one["fingerprint"], other["fingerprint"]
    if None not in digits and digits[0] != digits[1]:
        raise ValueError(
            f"{first} and {folder} are of different data: the images' fingerprints are {digits[0]} and {digits[1]}; "
            "score both on one copy of the set"
        )
    for name, row in one["rows"].items():
        values = row["input_psnr"], other["rows"][name]["input_psnr"]
        if values[0] != values[1] and not abs(values[0] - values[1]) <= SAME_PSNR:
            raise ValueError(
                f"{first} and {folder} hold different images of one name: the hazy {name} itself scores "
                f"{values[0]:.4f} and {values[1]:.4f} dB; score both on one split, with the same image decoder"
            )


def refuse_mixed(first, one, folder, other):
    """Raise ValueError when two runs of a group differ in more than their seed, or are no two trainings."""
    settings = one["settings"], other["settings"]
    pairs = {
        key: pair
        for key, pair in differing(*settings).items()
        if key not in NO_MATTER and not (key in PATHS and len({Path(str(value)).name for value in pair}) == 1)
    }
    if any(run.get("selection") != LAST_STEP for run in settings):
        pairs.pop("step", None)  # each training has its best step elsewhere
    if pairs:
        raise ValueError(
            f"{folder} differs from {first} in {in_words(pairs)}, but runs of one configuration differ in their seed "
            "alone: leave out the wrong one, or give it a NAME= of its own"
        )
    if one["sha256"] and one["sha256"] == other["sha256"]:
        raise ValueError(
            f"{first} and {folder} are tests of one checkpoint ({one['checkpoint']}), not independent runs: "
            "leave one out"
        )


def differing(one, other):
    """{key: (one's value, other's)} of the settings that both hold, where these differ.

    A setting of the test is left out where that of the training says the same.
    """
    keys = [key for key in one if key in other and key not in NOT_COMPARED]
    pairs = {key: (one[key], other[key]) for key in keys if one[key] != other[key]}
    training = {f"{key} in the test": pair for key, pair in pairs.items()}
    return {key: pair for key, pair in pairs.items() if training.get(key) != pair}


def in_words(pairs):
    return ", ".join(f"{key} {new} (not {old})" for key, (old, new) in pairs.items())
