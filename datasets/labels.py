"""domains.csv: every image's domain, for people to read, correct or write."""

import csv
import io
from pathlib import Path

import numpy as np


def read_labels(folder, classes, by_hand=False):
    """{name: domain} of <folder>/domains.csv; empty where there is no such file.

    by_hand: only of the lines that people wrote or corrected: those without probabilities, those with 1 and 0 in their
    place (so are they written back), and those whose domain is not the most likely one.
    Raises ValueError naming the file and the line that is wrong.
    """
    path, labels = Path(folder) / "domains.csv", {}
    columns, rows = read_rows(path)
    for number, row in enumerate(rows, 2):
        name, domain = row["name"], row["domain"]
        try:
            if by_hand and not is_by_hand(domain, columns, [row[column] for column in columns]):
                continue
            if not name:
                raise ValueError("there is no image's name")
            if domain not in classes:
                known = ", ".join(classes)
                raise ValueError(f"{domain!r} is none of text.classes ({known}): correct it, or move the file away")
            if labels.setdefault(name, domain) != domain:
                raise ValueError(f"{name} is labelled twice, differently")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return labels


def read_rows(path):
    """The classes that a table has columns for, and its rows as dicts; nothing where there is no such file.

    Raises ValueError when it cannot be read or lacks its first line.
    """
    if not path.exists():
        return [], []
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if not rows or not {"name", "domain"} <= set(rows[0]):
        raise ValueError(f"{path} must begin with the line name,domain and hold a line for every image")
    for row in rows:
        row["domain"] = (row["domain"] or "").strip()
    columns = [column for column in rows[0] if column not in ("name", "domain", None)]
    if not set(columns) & {row["domain"] for row in rows}:  # of something else than classes, such as remarks
        columns = []
    return columns, rows


def is_by_hand(domain, columns, texts):
    """Whether a person wrote or corrected a line. columns: classes. texts: a probability each, where there is one."""
    if not columns or not all(texts) or set(texts) <= {"0", "1"}:
        return True
    try:
        return columns[np.argmax([float(text) for text in texts])] != domain
    except ValueError:
        raise ValueError(f"{', '.join(texts)} are not all probabilities") from None


def labels_table(domains):
    """The text of domains.csv for a Domains: name, domain, one probability a class."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "domain", *domains.classes])
    for name, label, prob, given in zip(domains.names, domains.labels(), domains.prob, domains.given, strict=True):
        whole = given and set(prob.tolist()) <= {0, 1}
        writer.writerow([name, label, *(map(int, prob) if whole else readable(prob))])
    return table.getvalue()


def readable(prob):
    """Probabilities as texts of four decimals, or of as many as keep the most likely class the most likely."""
    for decimals in range(4, 12):
        texts = [f"{p:.{decimals}f}" for p in prob]
        if np.argmax([float(text) for text in texts]) == prob.argmax():
            break
    return texts
