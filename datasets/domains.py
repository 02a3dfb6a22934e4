"""Text features and domain probabilities of a split: domains.npz, with the corrections of domains.csv."""

import io
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from utils.files import write_bytes

from .labels import labels_table, plain, read_labels

STAND_IN = "stand-in"
NEEDED = ("classes", "prompts", "text", "names", "prob", "encoder", "weights", "zero_shot")  # in domains.npz
WIDTH = 512  # of stand-in text vectors, as ViT-B/32's


@dataclass(frozen=True)
class Domains:
    """Text features of K classes and the probabilities of N images.

    classes: K names. prompts: the templates. text: K x D float32, unit length. names: N file names.
    prob: N x K float32. given: N bool, whether a person gave or corrected the label.
    encoder, weights, zero_shot, beta2, beta3: how they were made. weights: a tag, or "sha256:HEX" of a local file;
    source: as the settings named it. The betas are 0 unless zero_shot is "calip".
    stamps: N x 2 int64, each file's size and time as in a Listing; empty in files of older versions.
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
        """How the text features were made, in plain Python: the record that a checkpoint keeps.

        labels: "soft" or "hard", as the network is given them.
        """
        names = ("encoder", "weights", "source", "zero_shot", "beta2", "beta3")
        lists = {"classes": list(self.classes), "prompts": list(self.prompts)}
        return {name: getattr(self, name) for name in names} | lists | {"labels": labels}


FIELDS = {field.name: field.type for field in fields(Domains)}
FROM_ARRAY = {tuple: lambda array: tuple(map(str, array.ravel())), np.ndarray: np.asarray, str: str, float: float}


def stand_in_text(num_classes, width=WIDTH):
    """Fixed orthonormal vectors in place of text embeddings: K x D float32, the same on every machine."""
    random = np.random.default_rng(0).standard_normal((width, num_classes))
    orthonormal, triangle = np.linalg.qr(random)
    return (orthonormal * np.sign(np.diag(triangle))).T.astype(np.float32)


def stand_in(folder, classes, prompts):
    """Domains with stand-in text and the labels of <folder>/domains.csv. Raises ValueError if it is missing."""
    labels = read_labels(folder, classes)
    if not labels:
        raise ValueError(
            f"text.encoder=stand-in needs known labels: write {Path(folder) / 'domains.csv'} "
            f"with the columns name,domain (one of {', '.join(classes)}), or train without text by model.fusion=none"
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


def save_domains(folder, domains, table=True):
    """Write <folder>/domains.npz and, with `table`, domains.csv."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.array(getattr(domains, name)) for name in FIELDS})
    write_bytes(Path(folder) / "domains.npz", buffer.getvalue())
    if table:
        write_bytes(Path(folder) / "domains.csv", labels_table(domains).encode())


def load_domains(folder):
    """<folder>/domains.npz with the corrections of domains.csv, or None without domains.npz.

    Raises ValueError naming the file, and the line, that is wrong.
    """
    domains = read_domains(folder)
    if domains is None:
        return None
    labels = read_labels(folder, domains.classes, by_hand=True)
    prob, given = domains.prob.copy(), domains.given.copy()
    for i, name in enumerate(domains.names):
        if name in labels:
            prob[i], given[i] = one_hot(domains.classes, labels[name]), True
    return replace(domains, prob=prob, given=given)


def read_domains(folder):
    """<folder>/domains.npz without corrections, or None without the file. Raises ValueError if it is damaged."""
    path = Path(folder) / "domains.npz"
    if not path.exists():
        return None
    remedy = "delete it and run clip_text.py again"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in FIELDS if name in stored or name in NEEDED}
        arrays = {"given": np.zeros(arrays["names"].size, bool), "source": arrays["weights"]} | arrays
        domains = Domains(**{name: FROM_ARRAY[FIELDS[name]](array) for name, array in arrays.items()})
    except Exception as error:  # a broken archive fails in many ways: zip, zlib, header and pickle errors
        raise ValueError(f"{path} cannot be read ({type(error).__name__}): {remedy}") from None
    text, prob, num_names, num_classes = domains.text, domains.prob, len(domains.names), len(domains.classes)
    fits = text.ndim == 2 and len(text) == num_classes and prob.shape == (num_names, num_classes)
    fits &= text.dtype == prob.dtype == np.float32
    if not fits or len(domains.given) != num_names or not np.allclose(prob.sum(1), 1, atol=1e-3):
        raise ValueError(f"{path} holds arrays that do not fit together, or probabilities not of sum 1: {remedy}")
    return domains


def made_with(text, weights=None):
    """The fields of a Domains that the `text` settings decide, with their values.

    weights: what identifies the encoder's weights, a tag or "sha256:HEX"; None: unknown, left out.
    """
    made = {"classes": text.classes, "prompts": text.prompts, "encoder": text.encoder}
    if text.encoder == STAND_IN:
        return made
    calip = text.zero_shot == "calip"
    made |= {"zero_shot": text.zero_shot, "beta2": text.beta2 * calip, "beta3": text.beta3 * calip}
    return made | ({"weights": weights} if weights else {})


def difference(domains, made):
    """(field, value, wanted) of the first field of a Domains that differs from `made_with`'s; None where all agree."""
    for name, wanted in made.items():
        value = getattr(domains, name)
        if value != wanted and not (name == "weights" and wanted == domains.source):  # the file is elsewhere now
            return name, value, wanted
    return None


def open_domains(folder, text, weights=None):
    """The Domains of a split, as the settings ask for them; the stand-in encoder needs domains.csv alone.

    text: the `text` settings. weights: as in `made_with`; None: not compared.
    Raises ValueError naming the folder and the remedy if there are no Domains, or if they were made with other settings
    and text.accept is off.
    """
    domains = load_domains(folder)
    if domains is None and text.encoder == STAND_IN:
        return stand_in(folder, text.classes, text.prompts)
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

    labels: "soft" as they are, "hard" one-hot of the most likely class. shuffle_seed: give each image another, random
    image's probabilities (the ablation's control). Raises ValueError when an image has no label.
    """
    row = {name: i for i, name in enumerate(domains.names)}
    row = {plain(name): i for name, i in row.items()} | row
    found = [row.get(name, row.get(plain(name))) for name in names]
    if None in found:
        first = names[found.index(None)]
        raise ValueError(f"{found.count(None)} images have no domain label, first {first}: run clip_text.py again")
    prob = domains.prob[found]
    if labels == "hard":
        prob = np.eye(prob.shape[1], dtype=np.float32)[prob.argmax(1)]
    if shuffle_seed is not None:
        prob = prob[np.random.default_rng((shuffle_seed, 4)).permutation(len(prob))]
    return prob
