"""clip_text.py: what it writes, keeps and respects."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import label
from clip_text import main
from datasets.domains import load_domains
from datasets.journal import Journal
from tests.tiny_clip import CLASSES, PROMPTS, direct, make_encoder, make_images

ROOT = Path(__file__).parent.parent
NAMES = tuple(f"{i:03}.png" for i in range(10))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("clip") / "vit", "vit")


@pytest.fixture
def data(tmp_path):
    """A data set of two splits, with settings.yaml beside it."""
    for split in ("train", "test"):
        for side in ("hazy", "GT"):
            make_images(tmp_path / "data" / split / side, NAMES, seed=len(split + side))
    return tmp_path / "data"


def settings(data, encoder, *more):
    path = data.parent / "mine.yaml"
    path.write_text("data: {workers: 0}\n")
    return [str(path), f"data.root={data}", f"text.encoder={encoder[0]}", f"text.weights={encoder[1]}", *more]


@pytest.fixture
def run(scripts, tmp_path):
    return lambda script, *arguments: scripts(tmp_path, script, *arguments, timeout=300)


@pytest.mark.parametrize(("kind", "batch"), [("vit", 16), ("resnet", 1)])
def test_the_stored_features_are_open_clips(run, tmp_path, data, kind, batch):
    encoder = make_encoder(tmp_path / kind, kind)
    done = run("clip_text.py", *settings(data, encoder, f"text.batch={batch}", "data.workers=2"))
    assert done.code == 0, done.stderr
    assert f"{data / 'test'}: 10 images: 0 kept, 10 encoded" in done.stdout
    for split in ("train", "test"):
        domains = load_domains(data / split)
        text, prob = direct(*encoder, [data / split / "hazy" / name for name in NAMES])
        assert domains.names == NAMES and domains.encoder == encoder[0] and domains.weights.startswith("sha256:")
        assert np.abs(domains.text - text).max() < 1e-5 and np.abs(domains.prob - prob).max() < 1e-5
        assert cv2.imread(str(data / split / "domains.png")) is not None


def test_killed_and_run_again_it_ends_as_if_it_had_not_been(tmp_path, vit, capsys):
    names = [f"{i:03}.png" for i in range(200)]
    make_images(tmp_path / "data" / "train" / "hazy", names)
    make_images(tmp_path / "data" / "test" / "hazy", names[:1])
    shutil.copytree(tmp_path / "data", tmp_path / "straight")
    settings_of = {name: settings(tmp_path / name, vit, "text.batch=3") for name in ("data", "straight")}
    assert main(settings_of["straight"]) is None
    folder = tmp_path / "data" / "train"
    process = subprocess.Popen([sys.executable, str(ROOT / "clip_text.py"), *settings_of["data"]])
    journal = folder / "domains.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= 5):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "domains.npz").exists()
    with open(journal, "ab") as file:
        file.write(b'{"name": ["cut o')
    capsys.readouterr()
    main(settings_of["data"])
    kept, _, encoded, *_ = capsys.readouterr().out.split("200 images: ")[1].split()
    kept, encoded = int(kept), int(encoded)
    assert kept >= 12 and kept + encoded == 200
    for name in ("train/domains.npz", "train/domains.csv", "train/domains.png", "test/domains.npz"):
        assert (tmp_path / "data" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_only_new_and_changed_images_are_encoded(data, vit, capsys):
    main(settings(data, vit))
    make_images(data / "train" / "hazy", ["new.png", NAMES[3]], seed=9)
    main(settings(data, vit))
    out = capsys.readouterr().out
    assert "train: 11 images: 9 kept, 2 encoded" in out and "test: 10 images: 10 kept, 0 encoded" in out
    main(settings(data, vit, "text.prompt=the {class}"))
    assert "train: 11 images: 0 kept, 11 encoded" in capsys.readouterr().out


def test_when_nothing_is_left_to_do_the_encoder_is_not_needed(data, vit, tmp_path, capsys):
    weights = shutil.copy(vit[1], tmp_path / "mine.pt")
    main(settings(data, (vit[0], weights)))
    Path(weights).unlink()
    main(settings(data, (vit[0], weights)))
    assert "train: 10 images: 10 kept, 0 encoded" in capsys.readouterr().out
    with pytest.raises(ValueError, match="mine.pt does not exist"):
        main(settings(data, (vit[0], weights), "text.classes=[a, b]"))


def test_a_label_by_hand_stays_until_its_line_is_deleted(data, vit, capsys):
    main(settings(data, vit))
    before, table = load_domains(data / "train"), data / "train" / "domains.csv"
    wrong = before.labels()[0]
    right = "indoor" if wrong == "outdoor" else "outdoor"
    table.write_text(table.read_text().replace(f"{NAMES[0]},{wrong}", f"{NAMES[0]},{right}"))
    for prompt in (*PROMPTS, "the {class}"):
        main(settings(data, vit, f"text.prompt={prompt}"))
        assert "1 labelled by hand" in capsys.readouterr().out
        after = load_domains(data / "train")
        assert after.labels()[0] == right and after.prob[0].max() == 1 and after.given.tolist() == [True] + [False] * 9
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:1] + lines[2:]))
    main(settings(data, vit))
    assert np.array_equal(load_domains(data / "train").prob, before.prob)


def test_known_labels_are_taken_over_and_only_text_is_encoded(data, vit, capsys):
    for split in ("train", "test"):
        rows = [f"{name},{'indoor' if i % 2 else 'outdoor'}\n" for i, name in enumerate(NAMES)]
        (data / split / "domains.csv").write_text("name,domain\n" + "".join(rows))
    for _ in range(2):
        main(settings(data, vit))
        assert "train: 10 images: 0 kept, 0 encoded, 10 labelled by hand" in capsys.readouterr().out
        domains = load_domains(data / "train")
        assert domains.prob.tolist() == [[i % 2, 1 - i % 2] for i in range(10)]
        assert np.abs(domains.text - direct(*vit, [data / "train" / "hazy" / NAMES[0]])[0]).max() < 1e-5


def test_clips_accuracy_is_that_on_the_images_of_known_domain_hazy_and_clear(data, vit, capsys):
    known = ["indoor", "outdoor"] * 4
    table = "".join(f"{name},{domain}\n" for name, domain in zip(NAMES, known, strict=False))
    (data / "test" / "domains.csv").write_text("name,domain\n" + table)
    main([*settings(data, vit), "--clear"])
    output = capsys.readouterr().out
    assert f"{data / 'train'}: nothing to check" in output
    for side, folder in (("hazy", "hazy"), ("clear", "GT")):
        prob = direct(*vit, [data / "test" / folder / name for name in NAMES[:8]])[1]
        said = [("indoor", "outdoor")[i] for i in prob.argmax(1)]
        right = sum(map(str.__eq__, known, said))
        assert f"test, {side} images: CLIP's accuracy {right / 8:.3f} ({right} of 8 of known domain)" in output
        counts = [sum(pair == ("outdoor", name) for pair in zip(known, said, strict=True)) for name in CLASSES]
        assert f"  outdoor   {counts[0]:>10}{counts[1]:>10}\n" in output[output.index(f"test, {side} images") :]
    assert load_domains(data / "test").labels()[:8] == known


def test_broken_images_are_named_and_the_others_are_kept(run, data, vit, capsys):
    (data / "train" / "hazy" / NAMES[4]).write_bytes(b"no image")
    whole = (data / "train" / "hazy" / NAMES[5]).read_bytes()
    (data / "train" / "hazy" / NAMES[5]).write_bytes(whole[: len(whole) // 3])
    done = run("clip_text.py", *settings(data, vit, "text.batch=4", "data.workers=2"))
    assert done.code == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert f"hazy/{NAMES[4]}" in done.stderr and "(2 such files)" in done.stderr
    assert not (data / "train" / "domains.npz").exists()
    make_images(data / "train" / "hazy", [NAMES[4]], seed=9)
    (data / "train" / "hazy" / NAMES[5]).write_bytes(whole)
    main(settings(data, vit, "text.batch=4"))
    assert "train: 10 images: 8 kept, 2 encoded" in capsys.readouterr().out


def test_other_classes_work_by_settings_alone_down_to_training(run, data, vit, tmp_path):
    classes = "text.classes=[indoor clear, indoor hazy, outdoor hazy]"
    args = settings(data, vit, classes, "text.zero_shot=calip", "run=three", "model.size=n", "device=cpu")
    main(args)
    training = [*args, "train.steps=1", "train.batch=2", "train.crop=16", "train.precision=fp32"]
    done = run("train.py", *training)
    assert done.code == 0, done.stderr
    saved = torch.load(tmp_path / "checkpoints" / "three" / "last.pt", weights_only=True)
    assert saved["network"]["state"]["text"].shape == (3, 32)
    expected = {"encoder": vit[0], "source": vit[1], "zero_shot": "calip", "beta2": 0.5, "beta3": 0.05}
    assert expected.items() <= saved["text"].items() and len(saved["text"]["classes"]) == 3
    done = run("train.py", *training, "text.zero_shot=clip", "run=other")
    assert done.code == 2 and "made with zero_shot calip, the settings ask for clip" in done.stderr


MADE = {"classes": ("a", "b"), "weights": "x"}


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda data: data, 2),
        (lambda data: data[:-1], 1),
        (lambda data: data + b"\xff\n", 2),
        (lambda data: data.replace(b'"prob"', b'"rob"'), 0),
        (lambda data: data.replace(b"0.75", b"NaN"), 0),
        (lambda data: b"[1]\n" + data, 0),
        (lambda data: b"", 0),
    ],
)
def test_a_damaged_journal_gives_what_is_whole_and_goes_on(tmp_path, damage, kept):
    journal = Journal(tmp_path, MADE)
    for i in range(2):
        journal.add([f"{i}"], [(1, 2)], np.array([[0.25, 0.75]], np.float32))
    journal.path.write_bytes(damage(journal.path.read_bytes()))
    journal = Journal(tmp_path, MADE)
    assert len(journal.rows) == kept
    journal.add(["new"], [(3, 4)], np.array([[0.1, 0.9]], np.float32))
    again = Journal(tmp_path, MADE)
    assert len(again.rows) == kept + 1 and again.prob("new", (3, 4)).tolist() == np.float32([0.1, 0.9]).tolist()
    assert again.prob("new", (3, 5)) is None and Journal(tmp_path, {**MADE, "weights": "y"}).rows == {}


def test_a_folder_that_cannot_be_written_is_named(data, vit, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="train cannot be written"):
        main(settings(data, vit))


@pytest.mark.parametrize("encoder", [("stand-in", "none"), ("ViT-B-32-quickgelu", "openai")])
def test_a_missing_data_set_gets_the_line_that_says_where_it_is_to_be_had(tmp_path, encoder):
    with pytest.raises(ValueError, match="data set folder .*data does not exist: set data.root, or get the set from"):
        main(settings(tmp_path / "data", encoder))


def test_the_benchmark_of_labelling_labels(data, vit, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["label", str(data / "train"), "--encoder", vit[0], "--repeats", "1"])
    label.main()
    output = capsys.readouterr().out
    assert "labelling" in output and f"{len(NAMES)} images, batch 64" in output
