"""Domain labels and text features of a split: domains.npz for the programs, domains.csv for people."""

import csv
import io
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

STAND_IN = "stand-in"
WIDTH = 512  # of stand-in text vectors, as ViT-B/32's


@dataclass(frozen=True)
class Domains:
    """Text features of K classes and the probabilities of N images.

    classes: K names. prompts: the templates. text: K x D float32, unit length. names: N file names.
    prob: N x K float32. given: N bool, labels that were given or corrected by hand. stamps: N x 2 int64, size in bytes
    and modification time in ns of the labelled images, by which changed ones are known.
    encoder, weights, zero_shot: how they were made.
    """

    classes: tuple
    prompts: tuple
    text: np.ndarray
    names: tuple
    prob: np.ndarray
    given: np.ndarray
    stamps: np.ndarray
    encoder: str
    weights: str
    zero_shot: str

    def labels(self):
        """The most likely class of every image, by name."""
        return [self.classes[i] for i in self.prob.argmax(1)]


def stand_in_text(num_classes, width=WIDTH):
    """Fixed orthonormal vectors in place of text embeddings: K x D float32, the same on every machine."""
    random = np.random.default_rng(0).standard_normal((width, num_classes))
    orthonormal, triangle = np.linalg.qr(random)
    return (orthonormal * np.sign(np.diag(triangle))).T.astype(np.float32)


def stand_in_domains(folder, classes, prompts):
    """Domains with stand-in text and the labels of <folder>/domains.csv, which must be there."""
    labels = read_labels(folder, classes)
    if labels is None:
        raise ValueError(
            f"text.encoder=stand-in needs known labels: write {Path(folder) / 'domains.csv'} "
            f"with the columns name,domain (one of {', '.join(classes)})"
        )
    names = tuple(sorted(labels))
    return Domains(
        classes=tuple(classes),
        prompts=tuple(prompts),
        text=stand_in_text(len(classes)),
        names=names,
        prob=np.stack([one_hot(classes, labels[name]) for name in names]),
        given=np.ones(len(names), bool),
        stamps=np.zeros((len(names), 2), np.int64),
        encoder=STAND_IN,
        weights="none",
        zero_shot="none",
    )


def one_hot(classes, label):
    return (np.array(classes) == label).astype(np.float32)


def read_labels(folder, classes):
    """{name: domain} of <folder>/domains.csv, or None where there is none. Raises ValueError naming a bad line."""
    path = Path(folder) / "domains.csv"
    if not path.exists():
        return None
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not rows or not {"name", "domain"} <= set(rows[0]):
        raise ValueError(f"{path} must begin with the line name,domain and hold a line for every image")
    labels = {}
    for number, row in enumerate(rows, 2):
        name, domain = row["name"], (row["domain"] or "").strip()
        if domain not in classes:
            raise ValueError(f"{path}, line {number}: {domain!r} is none of text.classes ({', '.join(classes)})")
        if labels.setdefault(name, domain) != domain:
            raise ValueError(f"{path}, line {number}: {name} is labelled twice, differently")
    return labels


def with_corrections(domains, folder):
    """Domains in which the labels of domains.csv that differ from the most likely class win, as one-hot."""
    labels = read_labels(folder, domains.classes) or {}
    prob, given = domains.prob.copy(), domains.given.copy()
    for i, (name, label) in enumerate(zip(domains.names, domains.labels(), strict=True)):
        if labels.get(name, label) != label:
            prob[i], given[i] = one_hot(domains.classes, labels[name]), True
    return replace(domains, prob=prob, given=given)


def save_domains(folder, domains):
    """Write domains.npz and domains.csv, each aside and then moved into place."""
    arrays = {name: getattr(domains, name) for name in Domains.__dataclass_fields__}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.array(value) for name, value in arrays.items()})
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "domain", *domains.classes])
    for name, label, prob in zip(domains.names, domains.labels(), domains.prob, strict=True):
        writer.writerow([name, label, *(f"{p:.4f}" for p in prob)])
    for name, data in (("domains.npz", buffer.getvalue()), ("domains.csv", table.getvalue().encode())):
        aside = Path(folder) / f".{name}.{os.getpid()}.tmp"
        aside.write_bytes(data)
        aside.replace(Path(folder) / name)


def load_domains(folder):
    """Read <folder>/domains.npz with the corrections of domains.csv, or None where there is none.

    Raises ValueError naming the file when it is broken or incomplete.
    """
    path = Path(folder) / "domains.npz"
    if not path.exists():
        return None
    remedy = "delete it and run clip_text.py again"
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {name: stored[name] for name in Domains.__dataclass_fields__}
    except Exception as error:  # a broken archive fails in many ways: zip, zlib, header and pickle errors
        raise ValueError(f"{path} cannot be read ({type(error).__name__}): {remedy}") from None
    for name in ("classes", "prompts", "names"):
        values[name] = tuple(str(item) for item in values[name].ravel())
    for name in ("encoder", "weights", "zero_shot"):
        values[name] = str(values[name])
    domains = Domains(**values)
    num_names, num_classes = len(domains.names), len(domains.classes)
    shapes_fit = domains.text.ndim == 2 and domains.text.shape[0] == num_classes
    shapes_fit &= domains.prob.shape == (num_names, num_classes) and domains.given.shape == (num_names,)
    shapes_fit &= domains.stamps.shape == (num_names, 2)
    numbers = domains.text.dtype == domains.prob.dtype == np.float32
    if not shapes_fit or not numbers or not np.isfinite(domains.text).all() or not np.isfinite(domains.prob).all():
        raise ValueError(f"{path} holds arrays that do not fit together: {remedy}")
    return with_corrections(domains, folder)


def open_domains(folder, text, weights=None):
    """The Domains of a split, as the settings ask for them.

    text: the `text` settings. weights: what identifies its encoder's weights; None: not checked.
    domains.csv alone will do for the stand-in encoder. Raises ValueError naming the folder and the remedy when there
    are none, or when they were made with other settings and text.accept is off.
    """
    domains = load_domains(folder)
    if domains is None and text.encoder == STAND_IN:
        return stand_in_domains(folder, text.classes, text.prompts)
    if domains is None:
        raise ValueError(f"{folder} has no domains.npz: run clip_text.py with the same settings first")
    wanted = {"classes": text.classes, "prompts": text.prompts, "encoder": text.encoder}
    if text.encoder != STAND_IN:
        wanted |= {"zero_shot": text.zero_shot} | ({"weights": weights} if weights else {})
    for name, value in wanted.items():
        made = getattr(domains, name)
        if made != value and not text.accept:
            raise ValueError(
                f"{folder}/domains.npz was made with {name} {made}, the settings ask for {value}: "
                "run clip_text.py again, or set text.accept=true"
            )
    return domains


def prob_of(domains, names, labels="soft", shuffle_seed=None):
    """N x K float32 probabilities of the named images.

    labels: "soft" as they are, "hard" one-hot of the most likely class. shuffle_seed: the ablation's control, each
    image gets another, random image's probabilities. Raises ValueError when an image has no label.
    """
    row = {name: i for i, name in enumerate(domains.names)}
    missing = [name for name in names if name not in row]
    if missing:
        raise ValueError(f"{len(missing)} images have no domain label, first {missing[0]}: run clip_text.py again")
    prob = domains.prob[[row[name] for name in names]]
    if labels == "hard":
        prob = np.eye(prob.shape[1], dtype=np.float32)[prob.argmax(1)]
    if shuffle_seed is not None:
        prob = prob[np.random.default_rng((shuffle_seed, 4)).permutation(len(prob))]
    return prob
