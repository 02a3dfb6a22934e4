"""Write files whole or not at all; name them by content. A leaf: it imports nothing of the project."""

import hashlib
import os
from pathlib import Path


def write_text(path, text):
    """Write UTF-8 as `write_bytes` does; a file name that is not valid Unicode shows its bytes as \\udcXX."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path, data, previous=None):
    """Write aside and move into place: a kill or a full disk at any instant leaves the old file or the new one.

    Folders are made as needed. previous: where the file that is replaced is kept, if anywhere.
    Raises OSError naming the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        aside.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        aside.unlink(missing_ok=True)


def sha256(path):
    """The file's SHA-256, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
