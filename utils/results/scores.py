"""The results folder of a test: metrics.json for programs, results.csv for spreadsheets."""

import json
import math
import os
import platform
import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import torch

from ..evaluate import SCORES, mean_scores
from ..files import write_text
from ..settings import flatten, marked, to_plain
from .tables import as_csv


def results_folder(config):
    """Make results/<run>-<split> before the scoring. Raises ValueError where it holds the results of another test."""
    folder = Path("results") / f"{config.run}-{config.data.test}"
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "metrics.json").exists():
        before, now = read_metrics(folder)["settings"], to_plain(config)
        pairs = {f"test.{key}": (before["test"].get(key, value), value) for key, value in now["test"].items()}
        pairs["checkpoint"] = before["checkpoint"], now["checkpoint"]
        changed = [f"{key}={old}" for key, (old, new) in pairs.items() if old != new and key not in marked("speed")]
        if changed:
            raise ValueError(
                f"{folder} holds results with {', '.join(changed)}: add run=NAME and checkpoint=PATH, or move it away"
            )
    shutil.rmtree(folder / "images", ignore_errors=True)  # of the test that this one replaces
    return folder


def image_names(names):
    """The PNG file of each image: NAME.png in place of NAME.jpg, but NAME.jpg.png where two images share NAME."""
    shared = Counter(Path(name).stem for name in names)
    return [f"{Path(name).stem if shared[Path(name).stem] == 1 else name}.png" for name in names]


def summarise(rows):
    """Mean scores over all rows and, under "domains", over each domain's."""
    domains = sorted({row["domain"] for row in rows})
    parts = {domain: mean_scores([row for row in rows if row["domain"] == domain]) for domain in domains}
    return {**mean_scores(rows), "domains": parts}


def notes_of(test, trained, text):
    """What a reader must know of a checkpoint's results, in sentences.

    test: the `test` settings. trained: the training's, nested, or None (published). text: the checkpoint's, or None.
    """
    trained, text = dict(flatten(trained or {})), text or {}
    val = trained.get("data.val")
    notes = {
        "a published checkpoint": not trained,
        "on stand-in text features (fixed vectors and known labels), not CLIP's": text.get("encoder") == "stand-in",
        "trained with shuffled domains: each image got another, random image's": text and trained.get("text.shuffle"),
        "the checkpoint was chosen on centre crops of the test set, the published way": val == "test-crop",
        "the checkpoint was chosen on the test set": trained and val == trained["data.test"],
        "tested with the wrong domains: each class's probability was given to the next": test.domain == "wrong",
        "tested without domains: every image was given all classes equally": test.domain == "uniform",
        "do no harm: the network was given the clear images in place of the hazy ones": test.input == "clear",
    }
    return [note for note, holds in notes.items() if holds]


def write_results(folder, metrics, rows):
    """Write metrics.json and results.csv. An infinite PSNR, of equal images, is inf in the latter; null in JSON."""
    write_text(folder / "results.csv", as_csv(rows, ("name", "domain", *SCORES)))
    metrics = json.loads(json.dumps(metrics), parse_constant=lambda name: None)  # JSON has no Infinity and NaN
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")


def read_metrics(folder):
    """The content of metrics.json. Raises ValueError naming a folder that this version of test.py has not written."""
    try:
        text = (Path(folder) / "metrics.json").read_text(encoding="utf-8")
        metrics = json.loads(text, object_hook=lambda d: d | {"psnr": math.inf} if d.get("psnr", 0) is None else d)
        _ = metrics["data"]["fingerprint"], metrics["selection"], metrics["settings"]["test"]  # older results lack them
        return metrics
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{folder} holds no results of this version's test.py ({error!r}): move it away") from None


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
        "device": torch.cuda.get_device_name(device) if cuda else f"{platform.machine()} CPU, {os.cpu_count()} cores",
    }
