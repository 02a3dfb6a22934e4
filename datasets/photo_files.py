"""Which photographs a person names, and where their results go."""

import glob
import os
from pathlib import Path

from .images import ENDINGS, is_image, left_out


def find_photos(arguments, output):
    """Pairs of file and name (its path within the folder it was found in), sorted by name.

    arguments: files, folders (searched with all their subfolders) and glob patterns. What lies in the `output` folder
    inside a folder that is searched is left out. Raises ValueError for an argument that names no images.
    """
    found = {}
    for argument in map(str, arguments):
        path = Path(argument)
        if not argument:
            raise ValueError("--input is empty: name a file, a folder or a pattern")
        if path.is_file():
            if path.suffix.lower() not in ENDINGS:
                raise ValueError(f"--input {path} has not the ending of an image ({', '.join(ENDINGS)})")
            files, others = [(path, Path(path.name))], ""
        else:
            root = path if path.is_dir() else fixed_part(argument)
            candidates = walk(path) if path.is_dir() else map(Path, glob.glob(argument, recursive=True))
            inside = output.resolve() != root.resolve() and output.resolve().is_relative_to(root.resolve())
            candidates = [
                file for file in candidates if not (inside and file.resolve().is_relative_to(output.resolve()))
            ]
            files = [(file, file.relative_to(root)) for file in candidates if is_image(file)]
            others = left_out(set(candidates) - {file for file, _ in files})
        if not files:
            exists = path.exists() or glob.has_magic(argument)
            reason = f"names no images{others and f', {others}'}" if exists else "does not exist"
            raise ValueError(f"--input {argument} {reason}")
        if others:
            print(f"note: {argument}: {others}")
        found |= {(file.resolve(), name): file for file, name in files}
    return sorted(((file, name) for (_, name), file in found.items()), key=lambda pair: str(pair[1]))


def fixed_part(pattern):
    """The folder in which a glob pattern's first wildcard stands."""
    parts = Path(pattern).parts
    return Path(*parts[: next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)])


def walk(root):
    """Every file below a folder; linked folders are entered, each folder once."""
    seen = {os.path.realpath(root)}

    def refuse(error):
        raise error

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=refuse):
        new = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(subfolders)}
        subfolders[:] = [name for name, real in new.items() if real not in seen and not name.startswith(".")]
        seen.update(new.values())
        yield from (Path(folder) / name for name in files)


def plan(photos, output, compare, overwrite):
    """Where each photo's result goes, and its comparison or None: <output>/NAME, <output>/compare/NAME.

    Raises ValueError where two photos would go to one place, or a file that is there would be overwritten.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file: name a folder")
    targets = [(output / name, output / "compare" / name if compare else None) for _, name in photos]
    sources, taken = {file.resolve() for file, _ in photos}, {}
    for (file, _), both in zip(photos, targets, strict=True):
        for target in filter(None, both):
            other = taken.setdefault(target, file)
            if other != file:
                raise ValueError(f"{other} and {file} would both become {target}: dehaze them into different folders")
            if target.resolve() in sources:
                raise ValueError(f"{target} is an input and would be overwritten: choose another --output")
    existing = [target for target in taken if target.exists()]
    if existing and not overwrite:
        raise ValueError(
            f"{len(existing)} of {len(taken)} results exist, first {existing[0]}: "
            "add --overwrite, or choose another --output"
        )
    return targets
