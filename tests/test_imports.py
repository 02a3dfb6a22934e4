"""The import rules: what may import what, and rooms are entered by their doors."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "datasets", "utils")
SCRIPTS = [path.stem for path in ROOT.glob("*.py")]
ROOMS = ("models.fast", "models.clip", "datasets.demo", "utils.results")
LEAF = "utils.files"  # imports nothing of the project; everybody may import it
PRODUCT = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]


def imported(path):
    """Absolute dotted names of all that a file imports, wherever in the file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_stand_alone(package):
    forbidden = (set(PACKAGES) | set(SCRIPTS)) - {package}
    for path in (ROOT / package).rglob("*.py"):
        names = {name for name in imported(path) if not name.startswith(LEAF)}
        assert not forbidden & {name.split(".")[0] for name in names}, path


def test_the_leaf_imports_nothing_of_the_project():
    names = imported((ROOT / LEAF.replace(".", "/")).with_suffix(".py"))
    assert not {*PACKAGES, *SCRIPTS} & {name.split(".")[0] for name in names}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_import_no_scripts(script):
    assert not set(SCRIPTS) & set(imported(ROOT / f"{script}.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_entered_by_its_door_alone(room):
    folder = ROOT / room.replace(".", "/")
    inside = {f"{room}.{path.stem}" for path in folder.glob("*.py")}
    for path in PRODUCT:
        if folder not in path.parents:
            assert not inside & set(imported(path)), path
