"""Write files whole or not at all; name them by content. A leaf: it imports nothing of the project."""

import hashlib
import os
from pathlib import Path


def write_text(path, text):
    """Write UTF-8 as `write_bytes` does; a file name that is not valid Unicode shows its bytes as \\udcXX."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path, data):
    """Write aside and move into place: a kill or a full disk at any instant leaves the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        aside.unlink(missing_ok=True)


def sha256(path):
    """The file's SHA-256, in hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def first_line(error):
    """An error's message as one line of at most 200 characters; the system's own words for an OSError."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
