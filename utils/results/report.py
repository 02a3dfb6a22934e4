"""One self-contained HTML page that shows the results of a test: scores, gains, examples, every image."""

import base64
import html
import math
import re
from pathlib import Path

import cv2
import numpy as np

from ..files import write_text
from ..settings import flatten

TEMPLATE = Path(__file__).with_name("report.html")
LONGEST_SIDE = 1000  # pixels, of the embedded pictures
PICTURE_BYTES = 350_000  # most bytes of one embedded JPEG, so that nine of them in base64 stay under 4.2 MB
NUM_COLORS = 6  # domain colours of the template, c0 to c5


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
    """Write <folder>/report.html, whole or not at all.

    metrics: the content of metrics.json. rows: those of results.csv, dicts of name, domain, psnr, ssim, input_psnr,
    input_ssim. pictures: {name: (hazy, dehazed, clear)}, H x W x 3 uint8 RGB, of the images that pick_examples chose.
    """
    folder = Path(folder)
    domains = sorted({row["domain"] for row in rows})
    colors = {domain: f"c{i % NUM_COLORS}" for i, domain in enumerate(domains)}
    settings = dict(flatten(metrics.get("settings", {})))
    origin = dict(flatten({"environment": metrics.get("environment", {}), "checkpoint": metrics.get("checkpoint", {})}))
    step = metrics.get("checkpoint", {}).get("step")
    subtitle = [
        f"{metrics['num_images']:,} images",
        f"step {step:,}" if isinstance(step, int) else "",
        f"{metrics['images_per_second']:.3g} images per second" if metrics.get("images_per_second") else "",
        metrics.get("protocol", ""),
    ]
    parts = {
        "title": html.escape(folder.resolve().name),
        "subtitle": html.escape(" · ".join(part for part in subtitle if part)),
        "notes": "".join(f'<p class="note">{html.escape(str(note))}</p>' for note in metrics.get("notes", [])),
        "tiles": tiles(metrics, rows),
        "summary": summary_table(metrics, colors),
        "settings": facts_table(settings),
        "environment": facts_table(origin),
        "histogram": histogram(rows, colors),
        "examples": examples(rows, pictures),
        "images": image_table(rows, colors),
    }
    # One pass over the template, so that a name which looks like a placeholder stays text.
    page = re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], TEMPLATE.read_text(encoding="utf-8"))
    write_text(folder / "report.html", page)


def number(value, digits, sign=False):
    """A number for people: fixed digits, a true minus, no -0."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):,.{digits}f}" if math.isfinite(value) else "∞"
    zero = not any(char in "123456789∞" for char in text)
    return ("" if zero else "−" if value < 0 else "+" if sign else "") + text


def tone(value):
    return "good" if value > 0 else "bad" if value < 0 else ""


def tiles(metrics, rows):
    """The four figures to read first."""
    psnr_gain = metrics["psnr"] - metrics["input"]["psnr"]
    ssim_gain = metrics["ssim"] - metrics["input"]["ssim"]
    worse = sum(gain(row) < 0 for row in rows)
    figures = [
        ("PSNR", f"{number(metrics['psnr'], 2)} dB", f"hazy input {number(metrics['input']['psnr'], 2)} dB", ""),
        ("SSIM", number(metrics["ssim"], 4), f"hazy input {number(metrics['input']['ssim'], 4)}", ""),
        ("Gain", f"{number(psnr_gain, 2, True)} dB", f"SSIM {number(ssim_gain, 4, True)}", tone(psnr_gain)),
        ("Images made worse", f"{worse:,}", f"of {len(rows):,}, by PSNR", "bad" if worse else "good"),
    ]
    return "".join(
        f'<div class="card tile"><span class="quiet">{label}</span><b class="{kind}">{value}</b>'
        f'<span class="quiet">{below}</span></div>'
        for label, value, below, kind in figures
    )


def summary_table(metrics, colors):
    """Hazy input and dehazed side by side, for all images and each domain."""
    lines = []
    domains = metrics.get("domains", {})
    for name, scores in [("all", metrics), *sorted(domains.items())]:
        dot = "" if scores is metrics else f'<i class="dot {colors.get(name, "c0")}"></i>'
        label = f'<span class="label">{dot}{html.escape(name)}</span>'
        label += f'<span class="quiet">{scores["num_images"]:,}</span>'
        head = f'<th class="text" scope="rowgroup" rowspan="2">{label}</th>'
        for metric, title, digits in (("psnr", "PSNR", 2), ("ssim", "SSIM", 4)):
            before, after = scores["input"][metric], scores[metric]
            lines.append(
                f'<tr>{head}<th class="metric">{title}</th><td>{number(before, digits)}</td>'
                f"<td>{number(after, digits)}</td>"
                f'<td class="{tone(after - before)}">{number(after - before, digits, True)}</td></tr>'
            )
            head = ""
    heads = '<th class="text">images</th><th></th><th>hazy</th><th>dehazed</th><th>gain</th>'
    return f'<table class="summary"><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def facts_table(facts):
    lines = (
        f'<tr><th class="text" scope="row">{html.escape(str(key))}</th>'
        f'<td class="text">{html.escape("none" if value is None else str(value))}</td></tr>'
        for key, value in facts.items()
    )
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def bin_edges(gains):
    """At most about 24 bins of a round width over all gains and zero, with an edge at zero."""
    low, high = min(gains, default=0.0), max(gains, default=0.0)
    span = max(high, 0.0) - min(low, 0.0) or 1.0
    scale = 10.0 ** math.floor(math.log10(span / 24))
    width = next(step * scale for step in (1, 2, 5, 10) if step * scale >= span / 24)
    first, last = math.floor(min(low, 0.0) / width), math.ceil(max(high, 0.0) / width)
    return np.arange(first, max(last, first + 1) + 1) * width


def histogram(rows, colors):
    """Inline SVG: one panel a domain, over one axis of gains."""
    gains = {domain: [gain(row) for row in rows if row["domain"] == domain] for domain in colors}
    finite = {domain: [value for value in values if math.isfinite(value)] for domain, values in gains.items()}
    edges = bin_edges([value for values in finite.values() for value in values])
    counts = {domain: np.histogram(values, edges)[0] for domain, values in finite.items()}
    most = max((int(count.max()) for count in counts.values()), default=0) or 1
    left, width, top, height, panel = 46, 440, 30, 84, 130  # pixels

    def x(value):
        return left + width * (value - edges[0]) / (edges[-1] - edges[0])

    parts = []
    for i, (domain, count) in enumerate(counts.items()):
        base = i * panel + top + height
        mean = f", mean {number(float(np.mean(finite[domain])), 2, True)} dB" if finite[domain] else ""
        infinite = len(gains[domain]) - len(finite[domain])
        left_out = f", {infinite:,} infinite" if infinite else ""
        parts.append(
            f'<text x="{left}" y="{base - height - 12}"><tspan class="head">{html.escape(domain or "all")}</tspan> '
            f"{len(gains[domain]):,} images{mean}{left_out}</text>"
            f'<line class="axis" x1="{left}" x2="{left + width}" y1="{base - height}" y2="{base - height}"/>'
            f'<line class="axis" x1="{left}" x2="{left + width}" y1="{base + 0.5}" y2="{base + 0.5}"/>'
            f'<text x="{left - 6}" y="{base - height + 4}" text-anchor="end">{most:,}</text>'
            f'<text x="{left - 6}" y="{base + 4}" text-anchor="end">0</text>'
        )
        for j in np.flatnonzero(count):
            tall = max(height * count[j] / most, 1)
            parts.append(
                f'<rect class="{colors[domain]}" x="{x(edges[j]) + 0.5:.1f}" y="{base - tall:.1f}" '
                f'width="{max(x(edges[j + 1]) - x(edges[j]) - 1, 1):.1f}" height="{tall:.1f}" rx="1">'
                f"<title>{number(edges[j], 2, True)} to {number(edges[j + 1], 2, True)} dB: {count[j]:,} images"
                "</title></rect>"
            )
        parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{base - height}" y2="{base}"/>')
    bottom = max(len(counts), 1) * panel
    stride = math.ceil(len(edges) / 9)
    digits = max(0, -math.floor(math.log10((edges[1] - edges[0]) * 1.0001)))
    zero = int(np.argmin(np.abs(edges)))
    for j in range(zero % stride, len(edges), stride):
        label = number(float(edges[j]), digits, True)
        parts.append(f'<text x="{x(edges[j]):.1f}" y="{bottom + 4}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{bottom + 26}" text-anchor="middle">PSNR gain, dB</text>')
    return (
        f'<svg class="histogram" viewBox="0 0 {left + width + 22} {bottom + 34}" role="img" '
        f'aria-label="Histogram of the PSNR gain by domain">{"".join(parts)}</svg>'
    )


def data_url(picture):
    """An H x W x 3 uint8 RGB picture as a JPEG data URL, at most LONGEST_SIDE pixels and PICTURE_BYTES bytes."""
    shrink = LONGEST_SIDE / max(picture.shape[:2])
    if shrink < 1:
        size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(picture[..., ::-1])  # RGB -> BGR, OpenCV's order
    for quality in range(90, 20, -10):  # strong noise needs less than 90
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(jpeg) <= PICTURE_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def examples(rows, pictures):
    """Sliders between the hazy, the dehazed and the clear picture of the chosen images."""
    figures = []
    for label, row in pick_examples(rows).items():
        if row["name"] not in pictures:
            continue
        height, width = pictures[row["name"]][0].shape[:2]
        images = "".join(
            f'<img class="{kind}" src="{data_url(picture)}" alt="{kind}">'
            for kind, picture in zip(("hazy", "dehazed", "clear"), pictures[row["name"]], strict=True)
        )
        pairs = "".join(
            f'<label><input type="radio" name="pair-{label}" value="{left} {right}" autocomplete="off"'
            f"{' checked' if right == 'dehazed' else ''}>{left} | {right}</label>"
            for left, right in (("hazy", "dehazed"), ("hazy", "clear"), ("dehazed", "clear"))
        )
        domain = f"{html.escape(row['domain'])}, " if row["domain"] else ""
        figures.append(
            f'<figure class="example card"><h3>{label.capitalize()}: '
            f'<span class="{tone(gain(row))}">{number(gain(row), 2, True)} dB</span></h3>'
            f'<p class="quiet">{html.escape(row["name"])}<br>{domain}PSNR {number(float(row["input_psnr"]), 2)} → '
            f"{number(float(row['psnr']), 2)} dB<br>SSIM {number(float(row['input_ssim']), 4)} → "
            f"{number(float(row['ssim']), 4)}</p>"
            f'<div class="frame" data-pair="hazy dehazed" '
            f'style="aspect-ratio: {width} / {height}; max-width: calc(75vh * {width / height:.4f})">{images}'
            f'<span class="left">hazy</span><span class="right">dehazed</span>'
            f'<input type="range" min="0" max="100" step="0.5" value="50" autocomplete="off" '
            f'aria-label="Share of the left picture, {label} image"><div class="handle"></div></div>'
            f'<fieldset class="pairs" aria-label="Pictures to compare">{pairs}</fieldset></figure>'
        )
    if not figures:
        return ""
    return f'<h2>Worst, median and best image by gain</h2><div class="examples">{"".join(figures)}</div>'


def image_table(rows, colors):
    """Every image, the lowest gain first; the page sorts by what data-value holds."""
    lines = []
    for row in sorted(rows, key=lambda row: (gain(row), row["name"])):
        cells = [
            (float(row["input_psnr"]), 2, False),
            (float(row["psnr"]), 2, False),
            (gain(row), 2, True),
            (float(row["input_ssim"]), 4, False),
            (float(row["ssim"]), 4, False),
            (float(row["ssim"]) - float(row["input_ssim"]), 4, True),
        ]
        tds = ""
        for value, digits, sign in cells:
            exact = f"{value:.6f}" if math.isfinite(value) else str(value).replace("inf", "Infinity")
            kind = f' class="{tone(value)}"' if sign and value else ""
            tds += f'<td{kind} data-value="{exact}">{number(value, digits, sign)}</td>'
        dot = f'<i class="dot {colors[row["domain"]]}"></i>' if row["domain"] else ""
        name, domain = html.escape(row["name"]), html.escape(row["domain"])
        lines.append(f'<tr><td class="text">{name}</td><td class="text">{dot}{domain}</td>{tds}</tr>')
    heads = [f'<th class="text"><button>{label}</button></th>' for label in ("name", "domain")]
    for label in ("hazy PSNR", "PSNR", "gain, dB", "hazy SSIM", "SSIM", "SSIM gain"):
        order = ' aria-sort="ascending"' if label == "gain, dB" else ""
        heads.append(f"<th{order}><button>{label}</button></th>")
    return f'<table id="images"><thead><tr>{"".join(heads)}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
