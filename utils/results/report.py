"""One self-contained HTML page that shows the results of a test: scores, gains, examples, every image."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np

from ..files import write_bytes, write_text
from ..settings import flatten

TEMPLATE, SCRIPT = (Path(__file__).with_name(f"report.{kind}") for kind in ("html", "js"))
LONGEST_SIDE = 1000  # pixels, of the embedded pictures
SIDES = ("hazy", "dehazed", "clear")  # of an example
PICTURE_BYTES = 350_000  # most bytes of one embedded JPEG, so that nine of them in base64 stay under 4.2 MB


def gain(row):
    """PSNR of the dehazed image minus that of the hazy input, in dB; 0 where both are infinite."""
    psnr, input_psnr = float(row["psnr"]), float(row["input_psnr"])
    return 0.0 if psnr == input_psnr else psnr - input_psnr


def pick_examples(rows):
    """Choose the images to show: {"worst": row, "median": row, "best": row} by PSNR gain.

    Of two images there is no median, and a single image is the median. Equal gains are ordered by name.
    """
    ordered = sorted(rows, key=lambda row: (gain(row), row["name"]))
    if len(ordered) < 3:
        return dict(zip(["median"] if len(ordered) == 1 else ["worst", "best"], ordered, strict=False))
    return {"worst": ordered[0], "median": ordered[(len(ordered) - 1) // 2], "best": ordered[-1]}


def write_report(folder, metrics, rows, pictures):
    """Write <folder>/report.html, whole or not at all, and its pictures as <folder>/examples/worst-hazy.jpg ...

    metrics: the content of metrics.json. rows: those of results.csv, dicts of name, domain, psnr, ssim, input_psnr,
    input_ssim. pictures: {name: (hazy, dehazed, clear)}, H x W x 3 uint8 RGB, of the images that pick_examples chose.
    """
    rows = sorted(rows, key=lambda row: row["name"])
    step = metrics.get("checkpoint", {}).get("step")
    subtitle = [
        f"{metrics['num_images']:,} images",
        f"step {step:,}" if isinstance(step, int) else "",
        f"{metrics['images_per_second']:.3g} images per second" if metrics.get("images_per_second") else "",
        metrics.get("protocol", ""),
    ]
    origin = {"environment": metrics.get("environment", {}), "checkpoint": metrics.get("checkpoint", {})}
    data = {
        "title": Path(folder).resolve().name,
        "subtitle": " · ".join(filter(None, subtitle)),
        "notes": [str(note) for note in metrics.get("notes", [])],
        "parts": [part("all", metrics), *(part(*item) for item in sorted(metrics.get("domains", {}).items()))],
        "settings": facts(metrics.get("settings", {})),
        "environment": facts(origin),
        "rows": [[row["name"], row["domain"], *scores(row)] for row in rows],
        "examples": [
            example(label, rows.index(row), pictures[row["name"]])
            for label, row in pick_examples(rows).items()
            if row["name"] in pictures
        ],
    }
    # The script reads the JSON as JavaScript, which has Infinity and NaN. Without "<" no text can end the script.
    text = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")
    page, script = (file.read_text(encoding="utf-8") for file in (TEMPLATE, SCRIPT))
    write_text(Path(folder) / "report.html", page.replace("{{script}}", script).replace("{{data}}", text))
    (Path(folder) / "examples").mkdir(exist_ok=True)
    for label, row in pick_examples(rows).items():
        for side, picture in zip(SIDES, pictures.get(row["name"], ()), strict=False):
            write_bytes(Path(folder) / "examples" / f"{label}-{side}.jpg", as_jpeg(picture))


def part(name, means):
    """Scores of all images or of a domain: name, number of images, PSNR and SSIM as in `scores`."""
    before = {f"input_{metric}": means["input"][metric] for metric in ("psnr", "ssim")}
    return [name, means["num_images"], *scores({**means, **before})]


def scores(row):
    """PSNR and SSIM, each of the hazy and the dehazed image."""
    return [float(row[key]) for key in ("input_psnr", "psnr", "input_ssim", "ssim")]


def facts(values):
    """Dotted keys and values of nested dicts, as texts."""
    return [[key, "none" if value is None else str(value)] for key, value in flatten(values)]


def example(label, index, pictures):
    """What the page shows of one of the chosen images. index: of its row."""
    height, width = pictures[0].shape[:2]
    urls = [data_url(picture) for picture in pictures]
    return {"label": label, "index": index, "width": width, "height": height, "pictures": urls}


def data_url(picture):
    return f"data:image/jpeg;base64,{base64.b64encode(as_jpeg(picture)).decode()}"


def as_jpeg(picture):
    """An H x W x 3 uint8 RGB picture as the bytes of a JPEG, at most LONGEST_SIDE pixels and PICTURE_BYTES bytes."""
    shrink = LONGEST_SIDE / max(picture.shape[:2])
    if shrink < 1:
        size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(picture[..., ::-1])  # RGB -> BGR, OpenCV's order
    for quality in range(90, 20, -10):  # strong noise needs less than 90
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(jpeg) <= PICTURE_BYTES:
            break
    return jpeg
