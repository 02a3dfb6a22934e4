"""Tables of scores: metrics.json for programs, results.csv for spreadsheets, lines for the terminal."""

import csv
import io
import json
import math
import os
import platform
import re
from pathlib import Path

import cv2
import torch

from ..evaluate import mean_scores
from ..files import write_text

COLUMNS = ("name", "domain", "psnr", "ssim", "input_psnr", "input_ssim")


def summarise(rows):
    """Mean scores over all rows and, under "domains", over each domain's."""
    domains = sorted({row["domain"] for row in rows})
    parts = {domain: mean_scores([row for row in rows if row["domain"] == domain]) for domain in domains}
    return {**mean_scores(rows), "domains": parts}


def write_results(folder, metrics, rows):
    """Write metrics.json and results.csv, each aside and then moved into place.

    The PSNR of an image that equals the clear one is infinite: `inf` in results.csv. JSON has no such number, so a mean
    over it is null in metrics.json.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "results.csv", table.getvalue())
    metrics = json.loads(json.dumps(metrics), parse_constant=lambda name: None)  # JSON has no Infinity and NaN
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "metrics.json", text + "\n")


def read_metrics(folder):
    """The content of metrics.json. Raises ValueError naming a folder that test.py has not written."""
    try:
        metrics = json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))
        for part in (metrics, *metrics["domains"].values()):
            for scores in (part, part["input"]):
                scores["psnr"] = math.inf if scores["psnr"] is None else scores["psnr"]  # `write_results` made it so
        _ = metrics["data"]["fingerprint"], metrics["selection"], metrics["settings"]["test"]  # older results have none
        return metrics
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is not a results folder of test.py: {error.filename} does not exist") from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder} cannot be read as results of test.py ({error!r}): run test.py again") from None


def score_table(metrics):
    """The scores of the hazy input and the dehazed images, over all and by domain, as lines of text."""
    parts = {"all": metrics, **metrics["domains"]}
    width = max(12, *map(len, parts))
    lines = [f"{'':{width}}{'images':>8}{'hazy input':>20}{'dehazed':>20}{'gain':>10}"]
    for name, part in parts.items():
        hazy, dehazed = (f"{score['psnr']:.2f} dB  {score['ssim']:.4f}" for score in (part["input"], part))
        gain = part["psnr"] - part["input"]["psnr"]
        lines.append(f"{name:{width}}{part['num_images']:>8}{hazy:>20}{dehazed:>20}{gain:>+7.2f} dB")
    return "\n".join(lines)


def environment(device):
    """What can move a score: the versions of Python, torch, CUDA, cuDNN, OpenCV and its JPEG codec; the hardware."""
    cuda = device.type == "cuda"
    jpeg = re.search(r"JPEG:\s*(.+)", cv2.getBuildInformation())
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "opencv": cv2.__version__,
        "jpeg": jpeg.group(1).strip() if jpeg else "unknown",
        "device": torch.cuda.get_device_name(device) if cuda else f"{platform.machine()} CPU",
        "cpu": f"{cpu_name()}, {os.cpu_count()} cores",
    }


def cpu_name():
    facts = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", facts.read_text()) if facts.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()
