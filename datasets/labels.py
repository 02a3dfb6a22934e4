"""domains.csv: every image's domain, for people to read, correct or write. Their lines win over CLIP's."""

import csv
import io
import os
import unicodedata
from pathlib import Path

from .images import has_image_name


def read_labels(folder, classes, by_hand=False):
    """{file name: domain} of <folder>/domains.csv for the images of <folder>/hazy; empty without domains.csv.

    by_hand: only lines that people wrote or corrected.
    Raises ValueError naming the line that is wrong, or that names no image while some images have no line.
    """
    path, hazy = Path(folder) / "domains.csv", Path(folder) / "hazy"
    if not path.exists():
        return {}
    files = [name for name in os.listdir(hazy) if has_image_name(name)]
    images = {plain(name): name for name in files} | {name: name for name in files}
    labels, strays = {}, []
    for where, row in read_rows(path):
        name, domain = row["name"], row["domain"]
        if by_hand and not is_by_hand(row):
            continue
        if domain not in classes:
            known = ", ".join(classes)
            raise ValueError(f"{where}: {domain!r} is not in text.classes ({known}): correct it, or move the file away")
        image = images.get(name, images.get(plain(name)))
        if image is None:
            strays.append(f"{where}: {name!r} is not an image of {hazy}")
        elif labels.setdefault(image, domain) != domain:
            raise ValueError(f"{where}: {name} is labelled twice, differently")
    if strays and len(labels) < len(files):
        more = f" ({len(strays)} such lines)" if len(strays) > 1 else ""
        example = min(set(files) - set(labels))
        raise ValueError(f"{strays[0]}{more}: write file names such as {example!r}, or delete the line")
    return labels


def plain(name):
    """A name without what people do not see: blanks at its ends, how its accents are composed."""
    return unicodedata.normalize("NFC", name).strip()


def read_rows(path):
    """Pairs of "file, line" and a dict of every line. Columns are separated by commas or, as in Excel, semicolons.

    Raises ValueError when the file cannot be read or lacks its first line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        semicolons = ";" in text.partition("\n")[0] and "," not in text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text), restval="", delimiter=";" if semicolons else ",")
        rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", error)
        raise ValueError(f"{path} cannot be read ({reason}): write it as CSV in UTF-8") from None
    if not rows or not {"name", "domain"} <= set(rows[0][1]):
        raise ValueError(f"{path} must begin with the line name,domain and hold a line for every image")
    return [(where, {**row, "domain": row["domain"].strip()}) for where, row in rows]


def is_by_hand(row):
    """Whether a person wrote or corrected a line: its domain has no probability, a plain 1, or not the highest."""
    own = row.get(row["domain"], "")
    others = [text for column, text in row.items() if column not in ("name", "domain", None)]
    return own in ("", "1") or number(own) < max(map(number, others))


def number(text):
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return -1.0  # a remark


def labels_table(domains):
    """The text of domains.csv: name, domain, one probability a class; 1 and 0 where a person gave the domain."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "domain", *domains.classes])
    for name, label, prob, given in zip(domains.names, domains.labels(), domains.prob, domains.given, strict=True):
        writer.writerow([name, label, *(f"{p:.0f}" if given else f"{p:.4f}" for p in prob)])
    return table.getvalue()
