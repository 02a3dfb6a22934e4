"""The report page of a test: scores, gains, examples, every image."""

import base64
import json
from pathlib import Path

import cv2

from ..files import write_bytes, write_text
from ..settings import flatten

TEMPLATE, SCRIPT = (Path(__file__).with_name(f"report.{kind}") for kind in ("html", "js"))
LONGEST_SIDE = 1000  # pixels, of the embedded pictures
SIDES = ("hazy", "dehazed", "clear")  # of an example


def pick_examples(rows):
    """Choose the images to show: {"worst": row, "median": row, "best": row} by PSNR gain, equal gains by name."""
    ordered = sorted(rows, key=lambda row: (row["psnr"] - row["input_psnr"], row["name"]))
    return {"worst": ordered[0], "median": ordered[(len(ordered) - 1) // 2], "best": ordered[-1]}


def write_report(folder, metrics, rows, pictures):
    """Write <folder>/report.html, a page that needs no other file, and its pictures as examples/worst-hazy.jpg ...

    metrics: of metrics.json. rows: of results.csv; also with "files", a row's images relative to the folder, which the
    page then opens. pictures: {name: (hazy, dehazed, clear)}, H x W x 3 uint8 RGB, of those that `pick_examples` chose.
    """
    folder, rows = Path(folder), sorted(rows, key=lambda row: row["name"])
    examples = []
    for label, row in pick_examples(rows).items():
        jpegs = [as_jpeg(picture) for picture in pictures[row["name"]]]
        urls = [f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" for jpeg in jpegs]
        examples.append({"label": label, "index": rows.index(row), "pictures": urls})
        for side, jpeg in zip(SIDES, jpegs, strict=True):
            write_bytes(folder / "examples" / f"{label}-{side}.jpg", jpeg)
    data = {
        "title": folder.resolve().name,
        "subtitle": " · ".join(subtitle(metrics)),
        "notes": metrics["notes"],
        "parts": [part("all", metrics), *(part(*item) for item in sorted(metrics["domains"].items()))],
        "settings": facts(metrics["settings"]),
        "environment": facts({key: metrics[key] for key in ("environment", "checkpoint")}),
        "rows": [[row["name"], row["domain"], *scores(row), row.get("files")] for row in rows],
        "examples": examples,
    }
    # The script reads the JSON as JavaScript, which has Infinity and NaN. Without "<" no text can end the script.
    text = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")
    page, script = (file.read_text(encoding="utf-8") for file in (TEMPLATE, SCRIPT))
    write_text(folder / "report.html", page.replace("{{script}}", script).replace("{{data}}", text))


def subtitle(metrics):
    """What was tested, its cost and the protocol, as short texts."""
    step, speed = (metrics["checkpoint"] or {}).get("step"), metrics["images_per_second"]
    texts = [
        metrics["outputs"] and f"images of {metrics['outputs']}",
        f"{metrics['num_images']:,} images",
        step and f"step {step:,}",
        metrics["parameters"] and f"{metrics['parameters'] / 1e6:.3g} M parameters",
        metrics["multiply_adds"] and f"{metrics['multiply_adds'] / 1e9:.3g} G multiply-adds at 256 x 256",
        speed and f"{speed:.3g} images per second",
        metrics["protocol"],
    ]
    return list(filter(None, texts))


def part(name, means):
    """Scores of all images or of a domain: name, number of images, PSNR and SSIM as in `scores`."""
    before = {f"input_{metric}": means["input"][metric] for metric in ("psnr", "ssim")}
    return [name, means["num_images"], *scores({**means, **before})]


def scores(row):
    """PSNR and SSIM, each of the hazy and the dehazed image."""
    return [row[key] for key in ("input_psnr", "psnr", "input_ssim", "ssim")]


def facts(values):
    """Dotted keys and values of nested dicts, as text."""
    return [[key, "none" if value is None else str(value)] for key, value in flatten(values)]


def as_jpeg(picture):
    """An H x W x 3 uint8 RGB picture as the bytes of a JPEG, at most LONGEST_SIDE pixels."""
    shrink = LONGEST_SIDE / max(picture.shape[:2])
    if shrink < 1:
        size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)  # OpenCV's order
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
