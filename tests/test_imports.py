"""The import rule: models, datasets and utils never import one another, and scripts never import scripts."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "datasets", "utils")
SCRIPTS = [path.stem for path in ROOT.glob("*.py")]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_stand_alone(package):
    forbidden = (set(PACKAGES) | set(SCRIPTS)) - {package}
    for path in (ROOT / package).rglob("*.py"):
        assert not forbidden & set(imported(path)), path


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_import_no_scripts(script):
    assert not set(SCRIPTS) & set(imported(ROOT / f"{script}.py"))
