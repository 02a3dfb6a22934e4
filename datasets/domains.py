"""Text features and domain probabilities of a split: domains.npz, and for people domains.csv, whose lines win."""

import csv
import io
import unicodedata
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from utils.files import first_line, write_bytes

from .images import is_image

STAND_IN = "stand-in"


@dataclass(frozen=True)
class Domains:
    """Text features of K classes and the probabilities of N images.

    classes: K names. prompts: the templates. text: K x D float32, unit length. names: N file names.
    prob: N x K float32. given: N bool, whether a person gave or corrected the label.
    encoder, weights, zero_shot, beta2, beta3: how they were made. weights: a tag, or "sha256:HEX" of a local file;
    source: as the settings named it. The betas are 0 unless zero_shot is "calip". stamps: N x 2 int64, as in a Listing.
    """

    classes: tuple
    prompts: tuple
    text: np.ndarray
    names: tuple
    prob: np.ndarray
    given: np.ndarray
    encoder: str
    weights: str
    zero_shot: str
    source: str = "none"
    beta2: float = 0.0
    beta3: float = 0.0
    stamps: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    def labels(self):
        """The most likely class of every image, by name."""
        return [self.classes[i] for i in self.prob.argmax(1)]

    def text_facts(self, labels):
        """What a checkpoint keeps of this, in plain Python. labels: "soft" or "hard", as the network is given them."""
        facts = {name: getattr(self, name) for name in ("encoder", "weights", "source", "zero_shot", "beta2", "beta3")}
        return facts | {"classes": list(self.classes), "prompts": list(self.prompts), "labels": labels}


FIELDS = {field.name: field.type for field in fields(Domains)}
FROM_ARRAY = {tuple: lambda array: tuple(map(str, array.ravel())), np.ndarray: np.asarray, str: str, float: float}


def stand_in_text(num_classes):
    """Fixed orthonormal vectors in place of text embeddings: K x 512 float32, the same on every machine."""
    random = np.random.default_rng(0).standard_normal((512, num_classes))
    orthonormal, triangle = np.linalg.qr(random)
    return (orthonormal * np.sign(np.diag(triangle))).T.astype(np.float32)


def stand_in(folder, classes, prompts):
    """Domains with stand-in text and the labels of <folder>/domains.csv. Raises ValueError if it is missing."""
    labels = read_labels(folder, classes)
    if not labels:
        table = f"{Path(folder) / 'domains.csv'} with the columns name,domain (one of {', '.join(classes)})"
        raise ValueError(f"text.encoder=stand-in needs known labels: write {table}, or set model.fusion=none")
    names = tuple(sorted(labels))
    prob = np.stack([one_hot(classes, labels[name]) for name in names])
    text, given = stand_in_text(len(classes)), np.ones(len(names), bool)
    return Domains(tuple(classes), tuple(prompts), text, names, prob, given, STAND_IN, "none", "none")


def one_hot(classes, label):
    return (np.array(classes) == label).astype(np.float32)


def save_domains(folder, domains, table=True):
    """Write <folder>/domains.npz and, with `table`, domains.csv: there, labels by hand have probabilities 1 and 0."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.array(getattr(domains, name)) for name in FIELDS})
    write_bytes(Path(folder) / "domains.npz", buffer.getvalue())
    if table:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", "domain", *domains.classes])
        for name, label, prob, given in zip(domains.names, domains.labels(), domains.prob, domains.given, strict=True):
            writer.writerow([name, label, *(f"{p:.0f}" if given else f"{p:.4f}" for p in prob)])
        write_bytes(Path(folder) / "domains.csv", text.getvalue().encode())


def load_domains(folder, corrected=True):
    """<folder>/domains.npz with the corrections of domains.csv, if `corrected`; None without domains.npz."""
    path, remedy = Path(folder) / "domains.npz", "delete it and run clip_text.py again"
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in FIELDS if name in stored}
        arrays = {"given": np.zeros(arrays["names"].size, bool), "source": arrays["weights"]} | arrays
        domains = Domains(**{name: FROM_ARRAY[FIELDS[name]](array) for name, array in arrays.items()})
    except Exception as error:  # a broken archive fails in many ways: zip, zlib, header and pickle errors
        raise ValueError(f"{path} cannot be read ({type(error).__name__}): {remedy}") from None
    text, prob, shape = domains.text, domains.prob, (len(domains.names), len(domains.classes))
    fits = prob.shape == shape and text.ndim == 2 and len(text) == shape[1] and domains.given.shape == shape[:1]
    if not fits or not text.dtype == prob.dtype == np.float32 or not np.allclose(prob.sum(1), 1, atol=1e-3):
        raise ValueError(f"{path} holds arrays that do not fit together, or probabilities not of sum 1: {remedy}")
    labels = read_labels(folder, domains.classes, by_hand=True) if corrected else {}
    for i, name in enumerate(domains.names):
        if name in labels:
            prob[i], domains.given[i] = one_hot(domains.classes, labels[name]), True
    return domains


def made_with(text, weights=None):
    """The fields of a Domains that the `text` settings decide. weights: a tag or "sha256:HEX"; None: left out."""
    made = {"classes": text.classes, "prompts": text.prompts, "encoder": text.encoder}
    if text.encoder == STAND_IN:
        return made
    calip = text.zero_shot == "calip"
    made |= {"zero_shot": text.zero_shot, "beta2": text.beta2 * calip, "beta3": text.beta3 * calip}
    return made | ({"weights": weights} if weights else {})


def difference(domains, made):
    """The first field of a Domains that differs from `made_with`'s, in words; "" where all agree."""
    for name, wanted in made.items():
        value = getattr(domains, name)
        if value != wanted and not (name == "weights" and wanted == domains.source):  # the file is elsewhere now
            return f"made with {name} {value}, the settings ask for {wanted}"
    return ""


def open_domains(folder, text, weights=None):
    """The Domains of a split, as the `text` settings ask for them; the stand-in encoder needs domains.csv alone.

    weights: as in `made_with`. Raises ValueError without them, or if other settings made them and text.accept is off.
    """
    domains = load_domains(folder)
    if domains is None and text.encoder == STAND_IN:
        return stand_in(folder, text.classes, text.prompts)
    if domains is None:
        raise ValueError(f"{folder} has no domains.npz: run clip_text.py with the same settings first")
    differs = difference(domains, made_with(text, weights))
    if differs and not text.accept:
        raise ValueError(f"{folder}/domains.npz was {differs}: run clip_text.py again, or set text.accept=true")
    return domains


def prob_of(domains, names, labels="soft", shuffle_seed=None):
    """N x K float32 probabilities of the named images. Raises ValueError when an image has no label.

    labels: "soft", or "hard": one-hot of the most likely class. shuffle_seed: give each image a random image's
    probabilities (the ablation's control).
    """
    row = {plain(name): i for i, name in enumerate(domains.names)}
    found = [row.get(plain(name)) for name in names]
    if None in found:
        first = names[found.index(None)]
        raise ValueError(f"{found.count(None)} images have no domain label, first {first}: run clip_text.py again")
    prob = domains.prob[found]
    if labels == "hard":
        prob = np.eye(prob.shape[1], dtype=np.float32)[prob.argmax(1)]
    if shuffle_seed is not None:
        prob = prob[np.random.default_rng((shuffle_seed, 4)).permutation(len(prob))]
    return prob


def read_labels(folder, classes, by_hand=False):
    """{file name: domain} of <folder>/domains.csv for the images of <folder>/hazy; empty without domains.csv.

    by_hand: only lines that people wrote or corrected. Raises ValueError naming a line of another domain, or of another
    image while some images have no line.
    """
    path, hazy = Path(folder) / "domains.csv", Path(folder) / "hazy"
    if not path.exists():
        return {}
    images = {plain(file.name): file.name for file in hazy.iterdir() if is_image(file)}
    labels, strays = {}, []
    for where, row in read_rows(path):
        image, domain = images.get(plain(row["name"])), row["domain"].strip()
        if by_hand and not is_by_hand(row, domain):
            continue
        if domain not in classes:
            raise ValueError(f"{where}: {domain!r} is not in text.classes ({', '.join(classes)}): correct it")
        if image is None:
            strays.append(f"{where}: {row['name']!r} is not an image of {hazy}")
        else:
            labels[image] = domain
    if strays and len(labels) < len(images):
        example = min(set(images.values()) - set(labels))
        raise ValueError(f"{strays[0]} ({len(strays)} in all): write file names such as {example!r}, or delete it")
    return labels


def plain(name):
    """A name without what people do not see: blanks at its ends, how its accents are composed."""
    return unicodedata.normalize("NFC", name).strip()


def read_rows(path):
    """Pairs of "file, line" and a dict of every line. Columns are separated by commas or, as in Excel, semicolons."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = "," if "," in text.partition("\n")[0] else ";"
        reader = csv.DictReader(io.StringIO(text), restval="", delimiter=delimiter)
        rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read ({first_line(error)}): write it as CSV in UTF-8") from None
    if not rows or not {"name", "domain"} <= set(rows[0][1]):
        raise ValueError(f"{path} must begin with the line name,domain and hold a line for every image")
    return rows


def is_by_hand(row, domain):
    """Whether a person wrote or corrected a line: its domain has no probability, a plain 1, or not the highest."""
    # Probabilities are compared as text: 0.6000, or 0,6 where Excel has been.
    numbers = [text for column, text in row.items() if column not in ("name", "domain", None) and text[:1].isdigit()]
    return row.get(domain, "") in ("", "1") or row[domain] < max(numbers, default="")
