"""Compare configurations, each of one or several runs: scores side by side, differences, what sets them apart."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from .runs import SAME_PSNR, differing, in_words, read_run, refuse_different, refuse_mixed
from .statistics import paired_interval

SAME_SSIM = 1e-5  # smaller differences are rounding, as those of PSNR below SAME_PSNR


@dataclass(frozen=True)
class Images:
    """The N images that all groups were scored on: names, domains (arrays of str), and how many were left out."""

    names: np.ndarray
    domains: np.ndarray
    left_out: int


@dataclass(frozen=True)
class Group:
    """Scores of one configuration by R training runs: psnr, ssim are R x N.

    settings: {dotted key: value} that all runs share. seeds: sorted texts. checkpoints: {SHA-256: text}. Older results
    do not hold all of them.
    """

    name: str
    psnr: np.ndarray
    ssim: np.ndarray
    settings: dict
    seeds: list
    checkpoints: dict


def open_groups(arguments):
    """The Groups of command-line arguments, [NAME=]FOLDER[,FOLDER ...], and their Images.

    Images with an infinite PSNR in any run are left out. Raises ValueError naming the folder that holds no results, or
    the two whose images or protocols differ, or that are no two runs of one configuration.
    """
    named = [parse(argument) for argument in arguments]
    runs = {folder: read_run(folder) for _, folders in named for folder in folders}
    first = named[0][1][0]
    for folder in runs:
        refuse_different(first, runs[first], folder, runs[folder])
    for _, folders in named:
        for one, other in combinations(folders, 2):
            refuse_mixed(one, runs[one], other, runs[other])
    names = np.array(sorted(runs[first]["rows"]))
    finite = np.isfinite([[run["rows"][name]["psnr"] for name in names] for run in runs.values()]).all(0)
    names = names[finite]
    if not len(names):
        raise ValueError(f"{first} has no image with a finite PSNR in every run: there is nothing to compare")

    def scores(folders, metric):
        return np.array([[runs[folder]["rows"][name][metric] for name in names] for folder in folders])

    groups = [
        Group(name, scores(folders, "psnr"), scores(folders, "ssim"), *shared([runs[folder] for folder in folders]))
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


def shared(runs):
    """A group's settings, seeds and checkpoints, from what `read_run` gives of its runs."""
    first, *rest = (run["settings"] for run in runs)
    settings = {key: value for key, value in first.items() if all(other.get(key, value) == value for other in rest)}
    seeds = sorted(str(run["settings"]["seed"]) for run in runs if "seed" in run["settings"])
    return settings, seeds, {run["sha256"]: run["checkpoint"] for run in runs if run["sha256"]}


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
    """What sets a group apart from the baseline, in words: settings, seeds, or else the checkpoints' files."""
    pairs = differing(base.settings, group.settings)
    other_seeds = bool(base.seeds and group.seeds) and base.seeds != group.seeds
    if pairs:
        return in_words(pairs) + (", the seed" if other_seeds else "")
    if other_seeds:
        return "no setting but the seed"
    ours, theirs = group.checkpoints, base.checkpoints
    if ours and theirs and ours.keys() != theirs.keys():
        return f"no setting but the checkpoint {', '.join(ours.values())} (not {', '.join(theirs.values())})"
    return "no setting on record"


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
