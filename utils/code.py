"""Tells the code of the network apart: weights that were trained by other code may mean something else to this one."""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

MODELS = Path(__file__).parent.parent / "models"
FILES = ("mixdehazenet.py", "fusion.py", "windows.py")


@cache
def code_digest():
    """A text that is another one where the network's files do something else; comments and docstrings do not count."""
    digest = hashlib.sha256()
    for name in FILES:
        tree = ast.parse((MODELS / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            if documented and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
        digest.update(ast.dump(tree).encode())
    return f"python{sys.version_info.major}.{sys.version_info.minor} {digest.hexdigest()}"


def of_other_code(checkpoint):
    """Whether a checkpoint was trained by other code of the network, as far as it says and this Python can tell."""
    ours = code_digest()
    theirs = str(checkpoint.get("code", ours))
    return theirs.partition(" ")[0] == ours.partition(" ")[0] and theirs != ours
