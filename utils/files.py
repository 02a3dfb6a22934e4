"""Files that are written whole or not at all."""

import os


def write_text(path, text):
    """Write UTF-8 aside and move it into place; a file name that is not valid Unicode shows its bytes as \\udcXX."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")
        aside.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)
