"""Checkpoint files: tensors and plain Python only, written aside and moved into place, loaded without running code."""

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import torch

FORMAT = 1


def save(path, checkpoint, previous=None):
    """Write a checkpoint so that a kill or a full disk at any instant leaves the old file or the new one.

    previous: where the file that is replaced is kept, if anywhere.
    Raises OSError naming the file when it cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    content = io.BytesIO()
    torch.save({"format": FORMAT, **checkpoint}, content)
    try:
        with open(aside, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        aside.replace(path)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({reason(error)}), what was saved before is kept: make room, then run again"
        ) from None
    finally:
        aside.unlink(missing_ok=True)


def load(path):
    """Read any checkpoint file safely onto the CPU; nothing in it can run code.

    Raises ValueError naming the file when it is missing, broken, or holds more than tensors and plain Python.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > 2 * path.stat().st_size + 2**20:  # torch stores without compression: anything else is a bomb
                raise ValueError("it unpacks to far more than its size")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"checkpoint {path} is broken or holds more than tensors and plain Python") from None
    except Exception as error:  # a broken archive fails in many ways: zip, pickle, unicode and type errors
        raise ValueError(f"checkpoint {path} cannot be read: {reason(error)}") from None
    if not isinstance(checkpoint, dict):
        raise ValueError(f"checkpoint {path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def is_ours(checkpoint):
    return checkpoint.get("format") == FORMAT and isinstance(checkpoint.get("network"), dict)


def evaluated_state(checkpoint):
    """The weights that were validated: the averaged ones, where the run keeps an average, else the raw ones."""
    return checkpoint["ema"] or checkpoint["network"]["state"]


def sha256(path):
    """The file's SHA-256, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def reason(error):
    """An error's first sentence, for a message of one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0][:200]
