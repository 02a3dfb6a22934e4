"""Scores and comparisons as tables: for the terminal, for papers, for other programs."""

import csv
import io
import re

DIGITS = {"psnr": 2, "ssim": 4}  # behind the point
COSTS = {"parameters": 1e6, "multiply_adds": 1e9, "images_per_second": 1}  # and the units that they are shown in
LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"}  # what LaTeX reads as commands
LATEX |= {letter: f"${letter}$" for letter in "<>|"} | {"\\": "$\\backslash$", "±": "$\\pm$", "−": "$-$"}
LATEX |= {"~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}


def score_table(metrics):
    """The scores of the hazy input and the dehazed images, over all and by domain, as lines of text."""
    lines = []
    for name, part in {"all": metrics, **metrics["domains"]}.items():
        scores = [f"{score['psnr']:.2f} dB  {score['ssim']:.4f}" for score in (part["input"], part)]
        gain = part["psnr"] - part["input"]["psnr"]
        lines.append([name, str(part["num_images"]), *scores, f"{gain:+.2f} dB"])
    return as_text(["", "images", "hazy input", "dehazed", "gain"], lines)


def comparison_table(records):
    """Header and lines of `compare`'s records. Behind ± is the standard deviation over runs."""
    base = records[0]["name"]
    header = ["images", "", "runs", "PSNR, dB", "SSIM", f"PSNR - {base}", f"SSIM - {base}", "better / worse"]
    header += ["params, M", "MACs, G", "images/s"]
    lines = []
    for record in records:
        line = [f"{record['images']} {record['num_images']:,}", record["name"], str(record["runs"])]
        for metric, digits in DIGITS.items():
            spread = record[f"{metric}_std"]
            line.append(f"{record[metric]:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}"))
        if "better" not in record:  # the baseline
            line += ["", "", ""]
        else:
            for metric, digits in DIGITS.items():
                mean, low, high = (record[f"{metric}_{key}"] for key in ("difference", "low", "high"))
                line.append(f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
            line.append(f"{record['better']:,} / {record['worse']:,}")
        costs = [(record.get(key), unit) for key, unit in COSTS.items()]
        lines.append(line + ["" if cost is None else f"{cost / unit:.3g}" for cost, unit in costs])
    return header, lines


def explain(groups):
    """What the numbers of a comparison mean, in sentences."""
    text = (
        f"{len(groups[0].names):,} images. Brackets: 95 % intervals of the mean difference, paired by image, from "
        "10,000 bootstrap resamples over the images and, where there are several, the training runs.\n"
        "Behind ±: the standard deviation over the runs. MACs: multiply-adds at 256 x 256."
    )
    if min(len(group.psnr) for group in groups) == 1:
        text += "\nOne run of a configuration: one seed is no evidence for a difference below half a decibel."
    return text


def as_text(header, lines, form="plain"):
    """A table as text. form: "plain" for the terminal, "markdown", or "latex", a tabular that needs no package."""
    table = [header, *lines]
    if form == "markdown":
        cells = [header, ["---"] * len(header), *lines]
        return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in cells)
    if form == "latex":
        head, *body = (" & ".join(map(as_latex, line)) + r" \\" for line in table)
        start, rule = rf"\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}", r"\hline"
        return "\n".join([start, rule, head, rule, *body, rule, r"\end{tabular}"])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)


def as_latex(text):
    minus = re.sub(r"(?<!\w)-(?=\d)", "−", text)
    return "".join(LATEX.get(letter, letter) for letter in minus)


def as_csv(records, columns=None):
    """Dicts as CSV, a column a key, or the given columns alone; numbers in full."""
    columns = columns or dict.fromkeys(key for record in records for key in record)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records)
    return table.getvalue()
