"""Find the photographs that a person names, and plan where their results go."""

import glob
import os
from pathlib import Path

from .images import is_image, left_out


def find_photos(arguments, output):
    """Pairs of file and name (its path within the folder it was found in), sorted by name.

    arguments: files, folders (searched with all their subfolders) and glob patterns. Files of the `output` folder
    inside a searched folder are left out. Raises ValueError for an argument that names no images.
    """
    found = {}
    for argument in map(str, arguments):
        if not argument:
            raise ValueError("--input is empty: name a file, a folder or a pattern")
        path = Path(argument)
        if path.is_dir():
            root, files = path, walk(path)
        elif path.is_file():
            root, files = path.parent, [path]
        else:
            root, files = fixed_part(argument), map(Path, glob.glob(argument, recursive=True))
        inside = output.resolve() != root.resolve() and output.resolve().is_relative_to(root.resolve())
        files = [file for file in files if not (inside and file.resolve().is_relative_to(output.resolve()))]
        images = [file for file in files if is_image(file)]
        others = left_out(set(files) - set(images))
        if not images:
            exists = path.exists() or glob.has_magic(argument)
            problem = f"names no images{others and f', {others}'}" if exists else "does not exist"
            raise ValueError(f"--input {argument} {problem}")
        if others:
            print(f"note: {argument}: {others}")
        found |= {(file.resolve(), file.relative_to(root)): file for file in images}
    return sorted(((file, name) for (_, name), file in found.items()), key=lambda pair: str(pair[1]))


def fixed_part(pattern):
    """The folder above a glob pattern's first wildcard."""
    parts = Path(pattern).parts
    return Path(*parts[: next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)])


def walk(root):
    """Every file below a folder but in hidden folders; linked folders are entered, each folder once."""
    seen = set()

    def refuse(error):
        raise error

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=refuse):
        seen.add(os.path.realpath(folder))
        real = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(subfolders)}
        subfolders[:] = [name for name in real if name[0] != "." and real[name] not in seen]
        yield from (Path(folder) / name for name in files)


def plan(photos, output, compare, overwrite):
    """Where each photo's result goes, and its comparison or None: <output>/NAME, <output>/compare/NAME.

    Raises ValueError when two photos would go to one place, or an existing file would be overwritten.
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
            "add --overwrite or --skip-existing, or choose another --output"
        )
    return targets
