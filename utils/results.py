"""The results folder: metrics.json for programs, results.csv for spreadsheets, a table for the terminal."""

import csv
import io
import json
import os
import platform
import re
from pathlib import Path

import cv2
import torch

from .evaluate import mean_scores
from .metrics import PROTOCOL

COLUMNS = ("name", "domain", "psnr", "ssim", "input_psnr", "input_ssim")


def summarise(rows):
    """Mean scores over all rows and, under "domains", over each domain's."""
    domains = sorted({row["domain"] for row in rows})
    parts = {domain: mean_scores([row for row in rows if row["domain"] == domain]) for domain in domains}
    return {**mean_scores(rows), "domains": parts, "protocol": PROTOCOL}


def write_results(folder, metrics, rows):
    """Write metrics.json and results.csv, each aside and then moved into place."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "results.csv", table.getvalue())
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def score_table(metrics):
    """The scores of the hazy input and the dehazed images, over all and by domain, as lines of text."""
    lines = [f"{'':12}{'images':>8}{'hazy input':>20}{'dehazed':>20}{'gain':>10}"]
    for name, part in {"all": metrics, **metrics["domains"]}.items():
        hazy, dehazed = (f"{score['psnr']:.2f} dB  {score['ssim']:.4f}" for score in (part["input"], part))
        gain = part["psnr"] - part["input"]["psnr"]
        lines.append(f"{name:12}{part['num_images']:>8}{hazy:>20}{dehazed:>20}{gain:>+7.2f} dB")
    return "\n".join(lines)


def environment(device):
    """The versions that can move a score: Python, torch, CUDA, cuDNN, OpenCV and its JPEG codec, the device."""
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
    }


def results_folder(run, split):
    return Path("results") / f"{run}-{split}"
