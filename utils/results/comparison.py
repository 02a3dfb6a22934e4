"""Compare configurations, each of one or several training runs, on the same images."""

import csv
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from ..checkpoint import LAST_STEP
from ..settings import flatten, marked
from .statistics import paired_interval
from .tables import read_metrics

SAME_PSNR = 1e-4  # dB; smaller differences are rounding, such as that of another batch size
PATHS = ("data.root", "model.init", "text.weights", "loss.weights", "test.outputs")  # compared by their last name


@dataclass(frozen=True)
class Images:
    """The N images that all groups were scored on: names and domains (arrays of str), and how many were left out."""

    names: np.ndarray
    domains: np.ndarray
    left_out: int


@dataclass(frozen=True)
class Group:
    """One configuration, scored in R runs: psnr and ssim are R x N.

    settings: {dotted key: value} that all runs share, and every run's "seed" and "checkpoint".
    cost: {"parameters", "multiply_adds", "images_per_second"}, None where the results do not hold it.
    """

    name: str
    psnr: np.ndarray
    ssim: np.ndarray
    settings: dict
    cost: dict


def open_groups(arguments):
    """The Groups of command-line arguments, [NAME=]FOLDER[,FOLDER ...], and their Images.

    Images with an infinite PSNR in any run are left out. Raises ValueError naming a folder without results, or two
    folders with other images, another protocol, or, within a group, more than another seed.
    """
    named = [parse(argument) for argument in arguments]
    runs = {folder: read_run(folder) for _, folders in named for folder in folders}
    first = named[0][1][0]
    for folder, run in runs.items():
        refuse_other_images(first, runs[first], folder, run)
    for _, folders in named:
        for one, other in combinations(folders, 2):
            refuse_mixed(one, runs[one], other, runs[other])
    names = np.array(sorted(runs[first]["rows"]))
    finite = np.isfinite([[run["rows"][name]["psnr"] for name in names] for run in runs.values()]).all(0)
    names = names[finite]
    if not len(names):
        raise ValueError(f"{first} has no image with a finite PSNR in every run: there is nothing to compare")
    groups = [group(name, [runs[folder] for folder in folders], names) for name, folders in named]
    labelled = [run["rows"] for run in runs.values() if run["rows"][names[0]]["domain"] != "unlabelled"]
    domains = np.array([(labelled or [runs[first]["rows"]])[0][name]["domain"] for name in names])
    return groups, Images(names, domains, int((~finite).sum()))


def parse(argument):
    """A group's name and folders. An argument that is a folder's whole name means that folder."""
    if Path(argument).is_dir():
        return Path(argument).resolve().name, [argument]
    name, _, rest = argument.rpartition("=")
    folders = [folder for folder in rest.split(",") if folder]
    if not folders:
        raise ValueError(f"{argument!r} names no folder: give FOLDER, or NAME=FOLDER,FOLDER for several runs")
    if len(set(folders)) < len(folders):
        raise ValueError(f"{argument!r} names a folder twice: each run counts once")
    return name or Path(folders[0]).name, folders


def read_run(folder):
    """A results folder: {"metrics", "settings", "rows"}.

    settings: {dotted key: value} of the training and the test, "checkpoint", "selection" and "step". A text setting of
    the test, or its data set, may differ from the training's: its key is "KEY in the test".
    rows: {image's name: its row of results.csv}, with PSNR and SSIM as numbers.
    """
    metrics = read_metrics(folder)
    try:
        with open(Path(folder) / "results.csv", encoding="utf-8", newline="") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
        for row in rows.values():
            row |= {metric: float(row[metric]) for metric in ("psnr", "ssim")}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ValueError(f"{folder}/results.csv cannot be read ({error!r}): run test.py again") from None
    tested = dict(flatten(metrics["settings"]))
    settings = dict(flatten({**(metrics["trained_with"] or {}), "test": metrics["settings"]["test"]}))
    settings |= {f"{key} in the test": tested[key] for key in tested if key.startswith("text.") or key == "data.root"}
    if metrics["checkpoint"]:
        path, sha256, step = (metrics["checkpoint"][key] for key in ("path", "sha256", "step"))
        settings |= {"checkpoint": f"{path}, SHA-256 {sha256[:8]}", "selection": metrics["selection"]}
        settings |= {"step": step} if step else {}
    for key, value in settings.items():
        if value and key.removesuffix(" in the test") in PATHS:
            settings[key] = Path(value).name  # another machine keeps the same set in another folder
    return {"metrics": metrics, "settings": settings, "rows": rows}


def refuse_other_images(first, one, folder, other):
    """Raise ValueError when two runs were scored by different protocols or on different images."""
    facts = [(run["metrics"]["protocol"], run["metrics"]["data"]["fingerprint"]) for run in (one, other)]
    for ours, theirs in zip(*facts, strict=True):
        if ours != theirs:
            raise ValueError(
                f"{first} and {folder} were scored by other protocols or on other images ({ours} | {theirs}): score "
                "both with one test.py on one copy of the split"
            )


def refuse_mixed(first, one, folder, other):
    """Raise ValueError when two runs of a group differ in more than their seed, or are tests of one checkpoint."""
    pairs = differing(one["settings"], other["settings"])
    pairs.pop("seed", None)
    checkpoints = pairs.pop("checkpoint", None)
    if LAST_STEP not in (one["settings"].get("selection"), other["settings"].get("selection")):
        pairs.pop("step", None)  # each training has its best step elsewhere
    if pairs:
        raise ValueError(
            f"{folder} differs from {first} in {in_words(pairs)}, but runs of one configuration differ in their seed "
            "alone: leave out the wrong one, or give it a NAME= of its own"
        )
    if "checkpoint" in one["settings"] and not checkpoints:
        raise ValueError(f"{folder} and {first} are of one checkpoint, not of independent runs: leave one out")


def group(name, runs, names):
    """The Group of some runs, with the scores of the images `names`."""
    scores = {
        metric: np.array([[run["rows"][name][metric] for name in names] for run in runs]) for metric in ("psnr", "ssim")
    }
    first, *others = (run["settings"] for run in runs)
    settings = {key: value for key, value in first.items() if all(other.get(key, value) == value for other in others)}
    for key in ("seed", "checkpoint"):
        values = [str(run["settings"][key]) for run in runs if key in run["settings"]]
        settings |= {key: ", ".join(sorted(values))} if values else {}
    cost = {key: runs[0]["metrics"].get(key) for key in ("parameters", "multiply_adds")}
    speeds = [run["metrics"]["images_per_second"] for run in runs]
    cost["images_per_second"] = None if None in speeds else sum(speeds) / len(speeds)
    return Group(name, **scores, settings=settings, cost=cost)


def compare(groups, images, resamples=10_000):
    """One record a group, over all images and over each domain: means over images and runs, and paired differences.

    A record is a dict of names and numbers: *_std is the standard deviation over runs, None for one run; *_low and
    *_high are the 95 % interval of the *_difference from the first group; better and worse count images by their
    PSNR's mean over runs. The first group has no differences. The cost stands in the records of all images.
    """
    base, records = groups[0], []
    for part in ["all", *sorted(set(images.domains))]:
        inside = (images.domains == part) | (part == "all")
        for group in groups:
            record = {"images": part, "num_images": int(inside.sum()), "name": group.name, "runs": len(group.psnr)}
            for metric in ("psnr", "ssim"):
                ours, theirs = getattr(group, metric)[:, inside], getattr(base, metric)[:, inside]
                means = ours.mean(1)
                record |= {metric: means.mean(), f"{metric}_std": means.std(ddof=1) if len(means) > 1 else None}
                if group is not base:
                    low, high = paired_interval(ours, theirs, resamples)
                    record |= {f"{metric}_difference": ours.mean() - theirs.mean()}
                    record |= {f"{metric}_low": low, f"{metric}_high": high}
            if group is not base:
                change = differences(group, base)[inside]
                record |= {"better": int((change > SAME_PSNR).sum()), "worse": int((change < -SAME_PSNR).sum())}
            records.append(record | (group.cost if part == "all" else {}))
    return records


def most_different(group, base, images, number):
    """Header and lines: the images whose PSNR differs most, the largest difference first."""
    change = differences(group, base)
    header = ["image", "domain", base.name, group.name, "difference, dB"]
    lines = []
    for i in np.argsort(-abs(change), kind="stable")[:number]:
        scores = [f"{one.psnr[:, i].mean():.2f}" for one in (base, group)]
        lines.append([str(images.names[i]), str(images.domains[i]), *scores, f"{change[i]:+.2f}"])
    return header, lines


def differences(group, base):
    """PSNR of each image, as its mean over the runs, minus that of the baseline, in dB: N values."""
    return group.psnr.mean(0) - base.psnr.mean(0)


def changed_settings(group, base):
    """What sets a group apart from the baseline, in words. The checkpoint is named where nothing else differs."""
    pairs = differing(base.settings, group.settings)
    checkpoints = pairs.pop("checkpoint", None)
    return in_words(pairs or ({"checkpoint": checkpoints} if checkpoints else {})) or "no setting on record"


def differing(one, other):
    """{key: (one's value, other's)} where settings that both hold differ.

    Settings of speed do not count. "KEY in the test" is left out where KEY of the training differs equally.
    """
    shared = [key for key in one if key in other]
    keys = [key for key in shared if key.removesuffix(" in the test") not in marked("speed")]
    pairs = {key: (one[key], other[key]) for key in keys if one[key] != other[key]}
    training = {f"{key} in the test": pair for key, pair in pairs.items()}
    return {key: pair for key, pair in pairs.items() if training.get(key) != pair}


def in_words(pairs):
    return ", ".join(f"{key} {new} (not {old})" for key, (old, new) in pairs.items())
