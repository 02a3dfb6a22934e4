"""Weights that were trained by other code of the network say so when they are loaded."""

import pytest
import torch

from tests.made import save_network
from utils import checkpoint
from utils.code import FILES, MODELS, code_digest, of_other_code


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A function that edits a copy of a network's file: from a text, to another."""
    for name in FILES:
        (tmp_path / name).write_text((MODELS / name).read_text())
    monkeypatch.setattr("utils.code.MODELS", tmp_path)

    def edit(name, old, new):
        text = (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
        code_digest.cache_clear()

    code_digest.cache_clear()
    yield edit
    code_digest.cache_clear()


def test_comments_and_docstrings_are_not_code(copied):
    before = {"code": code_digest()}
    copied("mixdehazenet.py", "# size -> ", "# of a size: ")
    copied("mixdehazenet.py", '"""1x1, GELU (erf), 1x1."""', '"""An MLP of two layers."""')
    assert not of_other_code(before)
    copied("mixdehazenet.py", "reflect_conv(dim, dim, 5, dilation=3", "reflect_conv(dim, dim, 5, dilation=2")
    assert of_other_code(before)


@pytest.mark.parametrize("code", [None, 3, "", " ", "python2.7 abc"])
def test_what_cannot_be_told_is_not_told(code):
    assert not of_other_code({} if code is None else {"code": code})


def test_weights_of_other_code_say_so(tmp_path, capsys):
    save_network(tmp_path / "a.pt")
    saved = checkpoint.load(tmp_path / "a.pt")
    for code in (code_digest(), code_digest() + "0"):
        checkpoint.save(tmp_path / "b.pt", {**saved, "code": code})
        for path in ("b.pt", "c.pt"):
            if path == "c.pt":
                checkpoint.save(tmp_path / path, checkpoint.essentials(torch.load(tmp_path / "b.pt")))
            checkpoint.load(tmp_path / path)
            said = capsys.readouterr().err
            assert said == ("" if code == code_digest() else f"note: {tmp_path / path} was trained by other code: "
                            "models/mixdehazenet.py, fusion.py or windows.py was edited since\n")  # fmt: skip
