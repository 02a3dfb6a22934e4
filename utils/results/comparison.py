"""Compare results folders: read them, refuse those that do not go together, make tables."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..settings import flatten
from .statistics import paired_interval

SAME_PSNR, SAME_SSIM = 1e-4, 1e-5  # smaller differences are rounding, such as that of another batch size
NOT_COMPARED = ("run", "seed", "device", "checkpoint")  # these differ between the runs of one configuration


@dataclass(frozen=True)
class Images:
    """The N images that all groups were scored on: names, domains (arrays of str), and how many were left out."""

    names: np.ndarray
    domains: np.ndarray
    left_out: int


@dataclass(frozen=True)
class Group:
    """Scores of one configuration by R training runs: psnr, ssim are R x N. settings: {dotted key: value}."""

    name: str
    psnr: np.ndarray
    ssim: np.ndarray
    settings: dict


def open_groups(arguments):
    """The Groups of command-line arguments, [NAME=]FOLDER[,FOLDER ...], and their Images.

    Images with an infinite PSNR in any run are left out. Raises ValueError naming the folder that holds no results, or
    the two whose images or protocols differ.
    """
    named = [parse(argument) for argument in arguments]
    runs = {folder: read_run(folder) for _, folders in named for folder in folders}
    first = named[0][1][0]
    for folder in runs:
        refuse_different(first, runs[first], folder, runs[folder])
    names = np.array(sorted(runs[first]["rows"]))
    finite = np.isfinite([[run["rows"][name]["psnr"] for name in names] for run in runs.values()]).all(0)
    names = names[finite]
    if not len(names):
        raise ValueError(f"{first} has no image with a finite PSNR in every run: there is nothing to compare")

    def scores(folders, metric):
        return np.array([[runs[folder]["rows"][name][metric] for name in names] for folder in folders])

    groups = [
        Group(name, scores(folders, "psnr"), scores(folders, "ssim"), runs[folders[0]]["settings"])
        for name, folders in named
    ]
    labelled = [runs[folder]["rows"] for folder in runs if runs[folder]["rows"][names[0]]["domain"] != "unlabelled"]
    domains = np.array([(labelled or [runs[first]["rows"]])[0][name]["domain"] for name in names])
    return groups, Images(names, domains, int((~finite).sum()))


def parse(argument):
    """A group's name and folders. An argument that is a folder's whole name means that folder."""
    if Path(argument).is_dir():
        return Path(argument).resolve().name, [argument]
    name, equals, rest = argument.rpartition("=")
    folders = [folder for folder in rest.split(",") if folder]
    if not folders:
        raise ValueError(f"{argument!r} names no folder: give FOLDER, or NAME=FOLDER,FOLDER for several runs")
    if len(set(folders)) < len(folders):
        raise ValueError(f"{argument!r} names a folder twice: each run counts once")
    return name or Path(folders[0]).name, folders


def read_run(folder):
    """{"protocol", "settings", "fingerprint", "rows": {name: row with numbers}} of a results folder of test.py."""
    folder = Path(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        with open(folder / "results.csv", encoding="utf-8", newline="") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
        for row in rows.values():
            row |= {metric: float(row[metric]) for metric in ("psnr", "ssim", "input_psnr", "input_ssim")}
            if math.isnan(row["psnr"]):
                raise ValueError(f"the PSNR of {row['name']} is nan")
        settings = {**(metrics["trained_with"] or {}), "test": metrics["settings"]["test"]}
        found = {"protocol": metrics["protocol"], "settings": dict(flatten(settings)), "rows": rows}
        return found | {"fingerprint": metrics.get("data", {}).get("fingerprint")}  # older results have none
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


def comparison_table(groups, images, resamples):
    """Header and lines: means of every group over all images and each domain, and the paired differences.

    Behind +/- is the standard deviation over runs. Intervals are `paired_interval`s; better and worse count images by
    their PSNR's mean over runs.
    """
    base = groups[0]
    header = ["images", "", "runs", "PSNR, dB", "SSIM", f"PSNR - {base.name}", f"SSIM - {base.name}", "better / worse"]
    lines = []
    for part in ["all", *sorted(set(images.domains))]:
        inside = np.full(len(images.names), True) if part == "all" else images.domains == part
        for group in groups:
            line = [f"{part} {inside.sum():,}", group.name, str(len(group.psnr))]
            for metric, digits in (("psnr", 2), ("ssim", 4)):
                line.append(mean_and_spread(getattr(group, metric)[:, inside].mean(1), digits))
            if group is base:
                lines.append([*line, "", "", ""])
                continue
            for metric, digits in (("psnr", 2), ("ssim", 4)):
                ours, theirs = (getattr(one, metric)[:, inside] for one in (group, base))
                low, high = paired_interval(ours, theirs, resamples)
                mean = signed(ours.mean() - theirs.mean(), digits)
                line.append(f"{mean} [{signed(low, digits)}, {signed(high, digits)}]")
            change = differences(group, base)[inside]
            lines.append([*line, f"{(change > SAME_PSNR).sum():,} / {(change < -SAME_PSNR).sum():,}"])
    return header, lines


def most_different(group, base, images, number):
    """Header and lines: the images whose PSNR differs most, the largest difference first."""
    change = differences(group, base)
    header = ["image", "domain", base.name, group.name, "difference, dB"]
    lines = []
    for i in np.argsort(-abs(change), kind="stable")[:number]:
        scores = [f"{one.psnr[:, i].mean():.2f}" for one in (base, group)]
        lines.append([str(images.names[i]), str(images.domains[i]), *scores, signed(change[i], 2)])
    return header, lines


def differences(group, base):
    """PSNR of each image, as its mean over the runs, minus that of the baseline, in dB: N values."""
    return group.psnr.mean(0) - base.psnr.mean(0)


def equal(group, base):
    """Whether every score of every run is the same, to 1e-4 dB and 1e-5 of SSIM."""
    same_runs = group.psnr.shape == base.psnr.shape
    return same_runs and bool(
        (abs(group.psnr - base.psnr) <= SAME_PSNR).all() and (abs(group.ssim - base.ssim) <= SAME_SSIM).all()
    )


def changed_settings(group, base):
    """The settings that set a group's first run apart from the baseline's, in words."""
    keys = [key for key in {**base.settings, **group.settings} if key not in NOT_COMPARED]
    pairs = {key: (base.settings.get(key), group.settings.get(key)) for key in keys}
    return ", ".join(f"{key} {new} (not {old})" for key, (old, new) in pairs.items() if old != new)


def mean_and_spread(means, digits):
    spread = f" ± {means.std(ddof=1):.{digits}f}" if len(means) > 1 else ""
    return f"{means.mean():.{digits}f}{spread}"


def signed(value, digits):
    return f"{round(float(value), digits) + 0.0:+.{digits}f}"  # adding 0 makes -0 a 0


def as_text(header, lines, markdown=False):
    """A table for the terminal, or for a paper."""
    if markdown:
        cells = [header, ["---"] * len(header), *lines]
        return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in cells)
    table = [header, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)
    return "\n".join(padded)
