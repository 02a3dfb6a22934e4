"""Domain labels and text features of a split: domains.npz for the programs, domains.csv for people."""

import csv
import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .images import replace_file

STAND_IN = "stand-in"
NEEDED = ("classes", "prompts", "text", "names", "prob", "encoder", "weights", "zero_shot")  # in domains.npz
WIDTH = 512  # of stand-in text vectors, as ViT-B/32's


@dataclass(frozen=True)
class Domains:
    """Text features of K classes and the probabilities of N images.

    classes: K names. prompts: the templates. text: K x D float32, unit length. names: N file names.
    prob: N x K float32. given: N bool, labels that were given or corrected by hand.
    encoder, weights, zero_shot, beta2, beta3: how they were made; weights is a tag or "sha256:HEX" of a local file, and
    the betas are 0 unless zero_shot is "calip". source: the weights as the settings named them.
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
        encoder=STAND_IN,
        weights="none",
        zero_shot="none",
    )


def one_hot(classes, label):
    return (np.array(classes) == label).astype(np.float32)


def read_labels(folder, classes):
    """{name: domain} of <folder>/domains.csv, or None where there is none. Raises ValueError naming a bad line."""
    _, lines = read_table(folder)
    return labels_of(folder, lines, classes) if lines else None


def hand_labels(folder, classes):
    """{name: domain} of the lines of <folder>/domains.csv that people wrote or corrected; empty where there is none.

    Those are the lines without probabilities, those with 1 and 0 in their place (as such labels are written back), and
    those whose domain is not their most likely one. Raises ValueError naming a bad line.
    """
    columns, lines = read_table(folder)
    return labels_of(folder, [line for line in lines if is_by_hand(folder, columns, *line)], classes)


def read_table(folder):
    """The classes that <folder>/domains.csv has columns for, and its lines: (number, name, domain, texts of columns).

    Nothing where there is no such file. Raises ValueError when it cannot be read or lacks its first line.
    """
    path = Path(folder) / "domains.csv"
    if not path.exists():
        return (), []
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not rows or not {"name", "domain"} <= set(rows[0]):
        raise ValueError(f"{path} must begin with the line name,domain and hold a line for every image")
    columns = tuple(column for column in rows[0] if column not in ("name", "domain", None))
    domains = [(row["domain"] or "").strip() for row in rows]
    if not set(columns) & set(domains):  # of something else than classes, such as remarks
        columns = ()
    lines = enumerate(zip(rows, domains, strict=True), 2)
    return columns, [(n, row["name"], domain, [row[column] for column in columns]) for n, (row, domain) in lines]


def labels_of(folder, lines, classes):
    path, labels = Path(folder) / "domains.csv", {}
    for number, name, domain, _ in lines:
        if not name:
            raise ValueError(f"{path}, line {number}: there is no image's name")
        if domain not in classes:
            raise ValueError(
                f"{path}, line {number}: {domain!r} is none of text.classes ({', '.join(classes)}): correct it, "
                "or move the file away"
            )
        if labels.setdefault(name, domain) != domain:
            raise ValueError(f"{path}, line {number}: {name} is labelled twice, differently")
    return labels


def is_by_hand(folder, columns, number, name, domain, texts):
    if not columns or not all(texts) or set(texts) <= {"0", "1"}:
        return True
    try:
        return columns[np.argmax([float(text) for text in texts])] != domain
    except ValueError:
        path = Path(folder) / "domains.csv"
        raise ValueError(f"{path}, line {number}: {', '.join(texts)} are not all probabilities") from None


def with_corrections(domains, folder):
    """Domains in which the labels that people wrote into domains.csv win, as one-hot."""
    labels = hand_labels(folder, domains.classes)
    prob, given = domains.prob.copy(), domains.given.copy()
    for i, name in enumerate(domains.names):
        if name in labels:
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
    for name, label, prob, given in zip(domains.names, domains.labels(), domains.prob, domains.given, strict=True):
        whole = given and set(prob.tolist()) <= {0, 1}
        writer.writerow([name, label, *(map(int, prob) if whole else readable(prob))])
    for name, data in (("domains.npz", buffer.getvalue()), ("domains.csv", table.getvalue().encode())):
        replace_file(Path(folder) / name, data)


def readable(prob):
    """Probabilities as texts of four decimals, or of as many as it takes for the most likely class to stay that."""
    for decimals in range(4, 12):
        texts = [f"{p:.{decimals}f}" for p in prob]
        if np.argmax([float(text) for text in texts]) == prob.argmax():
            break
    return texts


def load_domains(folder):
    """<folder>/domains.npz with the corrections of domains.csv, or None where there is no domains.npz.

    Raises ValueError naming the file, and the line, that is broken.
    """
    domains = read_domains(folder)
    return domains and with_corrections(domains, folder)


def read_domains(folder):
    """<folder>/domains.npz as it was written, or None where there is none. ValueError when it is broken."""
    path = Path(folder) / "domains.npz"
    if not path.exists():
        return None
    remedy = "delete it and run clip_text.py again"
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 2 * path.stat().st_size + 2**24:
                raise ValueError("it unpacks to far more than its size")  # NumPy does not compress unless asked to
        with np.load(path, allow_pickle=False) as stored:
            values = {name: stored[name] for name in Domains.__dataclass_fields__ if name in stored or name in NEEDED}
        if not all(isinstance(value, np.ndarray) for value in values.values()):  # NumPy gives bytes for what is none
            raise ValueError("it holds something else than arrays")
        values.setdefault("given", np.zeros(values["names"].size, bool))
        values.setdefault("source", values["weights"])
        for name in ("classes", "prompts", "names"):
            values[name] = tuple(str(item) for item in values[name].ravel())
        for name in ("encoder", "weights", "zero_shot", "source"):
            values[name] = str(values[name])
        for name in ("beta2", "beta3"):
            values[name] = float(values.get(name, 0))
    except Exception as error:  # a broken archive fails in many ways: zip, zlib, header and pickle errors
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}): {remedy}") from None
    domains = Domains(**values)
    num_names, num_classes = len(domains.names), len(domains.classes)
    shapes_fit = domains.text.ndim == 2 and domains.text.shape[0] == num_classes and domains.text.shape[1] > 0
    shapes_fit &= domains.prob.shape == (num_names, num_classes) and domains.given.shape == (num_names,)
    numbers = domains.text.dtype == domains.prob.dtype == np.float32
    if not shapes_fit or not numbers or not np.isfinite(domains.text).all():
        raise ValueError(f"{path} holds arrays that do not fit together: {remedy}")
    if not (domains.prob >= 0).all() or not np.allclose(domains.prob.sum(1), 1, atol=1e-3):
        raise ValueError(f"{path} holds probabilities that are none: {remedy}")
    return domains


def made_with(text, weights=None):
    """How the `text` settings would make a Domains: {field: value}.

    weights: what identifies the encoder's weights, a tag or "sha256:HEX"; None: not known.
    """
    made = {"classes": text.classes, "prompts": text.prompts, "encoder": text.encoder}
    if text.encoder == STAND_IN:
        return made
    calip = text.zero_shot == "calip"
    made |= {"zero_shot": text.zero_shot, "beta2": text.beta2 * calip, "beta3": text.beta3 * calip}
    return made | ({"weights": weights} if weights else {})


def difference(domains, made):
    """(field, value, wanted) of the first thing in which a Domains differs from `made_with`; None where all agree."""
    for name, wanted in made.items():
        value = getattr(domains, name)
        if value != wanted and not (name == "weights" and wanted == domains.source):  # a file that is elsewhere now
            return name, value, wanted
    return None


def open_domains(folder, text, weights=None):
    """The Domains of a split, as the settings ask for them.

    text: the `text` settings. weights: as in `made_with`; None: not checked.
    domains.csv alone will do for the stand-in encoder. Raises ValueError naming the folder and the remedy when there
    are none, or when they were made with other settings and text.accept is off.
    """
    domains = load_domains(folder)
    if domains is None and text.encoder == STAND_IN:
        return stand_in_domains(folder, text.classes, text.prompts)
    if domains is None:
        raise ValueError(f"{folder} has no domains.npz: run clip_text.py with the same settings first")
    differs = difference(domains, made_with(text, weights))
    if differs and not text.accept:
        name, value, wanted = differs
        raise ValueError(
            f"{folder}/domains.npz was made with {name} {value}, the settings ask for {wanted}: "
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
