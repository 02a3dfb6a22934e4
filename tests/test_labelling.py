"""clip_text.py: what it writes, keeps and respects."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import clip_text
from benchmarks import label
from clip_text import main
from datasets.domains import load_domains, save_domains
from tests.battery import accepted
from tests.tiny_clip import PROMPTS, direct, make_encoder, make_images

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


@pytest.mark.parametrize(("kind", "batch"), [("vit", 16), ("resnet", 1)])
def test_the_stored_features_are_open_clips(tmp_path, data, capsys, kind, batch):
    encoder = make_encoder(tmp_path / kind, kind)
    main(settings(data, encoder, f"text.batch={batch}", "data.workers=2"))
    assert f"{data / 'test'}: 10 images: 0 kept, 10 encoded" in capsys.readouterr().out
    for split in ("train", "test"):
        domains = load_domains(data / split)
        text, prob = direct(*encoder, [data / split / "hazy" / name for name in NAMES])
        assert domains.names == NAMES and domains.encoder == encoder[0] and domains.weights.startswith("sha256:")
        assert np.abs(domains.text - text).max() < 1e-5 and np.abs(domains.prob - prob).max() < 1e-5
        assert cv2.imread(str(data / split / "domains.png")) is not None


def test_killed_and_run_again_it_ends_as_if_it_had_not_been(data, tmp_path, vit, monkeypatch, capsys):
    shutil.copytree(tmp_path / "data", tmp_path / "straight")
    main(settings(tmp_path / "straight", vit, "text.batch=3"))
    table, folder = data / "train" / "domains.csv", data / "train"
    table.write_text(f"name,domain\n{NAMES[9]},outdoor\n")

    def kill(folder, domains, table=True):
        save_domains(folder, domains, table)
        if len(domains.names) > 6:
            raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(clip_text, "SAVE_EVERY", -1)
        patch.setattr(clip_text, "save_domains", kill)
        main(settings(data, vit, "text.batch=3"))
    assert load_domains(folder, corrected=False).names == (*NAMES[:6], NAMES[9]) and table.read_text().count("\n") == 2
    table.unlink()
    main(settings(data, vit, "text.batch=3"))
    assert "train: 10 images: 6 kept, 4 encoded" in capsys.readouterr().out
    for name in ("train/domains.npz", "train/domains.csv", "train/domains.png", "test/domains.npz"):
        assert (data / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_only_new_and_changed_images_are_encoded(data, vit, capsys):
    main(settings(data, vit))
    make_images(data / "train" / "hazy", ["new.png", NAMES[3]], seed=9)
    main(settings(data, vit))
    out = capsys.readouterr().out
    assert "train: 11 images: 9 kept, 2 encoded" in out and "test: 10 images: 10 kept, 0 encoded" in out
    main(settings(data, vit, "text.prompt=the {class}"))
    assert "train: 11 images: 0 kept, 11 encoded" in capsys.readouterr().out


def test_a_labelled_set_of_any_version_needs_no_encoder_and_no_writing(data, vit, tmp_path, monkeypatch, capsys):
    weights = shutil.copy(vit[1], tmp_path / "mine.pt")
    main(settings(data, (vit[0], weights)))
    Path(weights).unlink()
    arrays = dict(np.load(data / "train" / "domains.npz"))
    del arrays["stamps"]  # of no file before they were kept
    np.savez(data / "train" / "domains.npz", **arrays)
    monkeypatch.setattr(clip_text, "save_domains", None)
    main(settings(data, (vit[0], weights)))
    assert "train: 10 images: 10 kept, 0 encoded" in capsys.readouterr().out
    with pytest.raises(ValueError, match="text.encoder=local-dir"):
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
        assert load_domains(data / "train").prob.tolist() == [[i % 2, 1 - i % 2] for i in range(10)]


def test_clips_accuracy_is_that_on_the_images_of_known_domain(data, vit, capsys):
    known = ["indoor", "outdoor"] * 4
    table = "".join(f"{name},{domain}\n" for name, domain in zip(NAMES, known, strict=False))
    (data / "test" / "domains.csv").write_text("name,domain\n" + table)
    main([*settings(data, vit), "--check"])
    prob = direct(*vit, [data / "test" / "hazy" / name for name in NAMES[:8]])[1]
    right = sum(known[i] == ("indoor", "outdoor")[row.argmax()] for i, row in enumerate(prob))
    output = capsys.readouterr().out
    assert f"test: CLIP's accuracy {right / 8:.3f} ({right} of 8 of known domain)" in output
    assert f"{data / 'train'}: nothing to check" in output
    assert load_domains(data / "test").labels()[:8] == known


def test_a_broken_image_is_named_and_what_was_encoded_before_it_is_kept(data, vit, capsys):
    (data / "train" / "hazy" / NAMES[4]).write_bytes(b"no image")
    with pytest.raises(ValueError, match=rf"hazy/{NAMES[4]} cannot be read"):
        main(settings(data, vit, "text.batch=4"))
    make_images(data / "train" / "hazy", [NAMES[4]], seed=9)
    main(settings(data, vit, "text.batch=4"))
    assert "train: 10 images: 4 kept, 6 encoded" in capsys.readouterr().out


def test_other_classes_work_by_settings_alone_down_to_training(scripts, data, vit, tmp_path):
    classes = "text.classes=[indoor clear, indoor hazy, outdoor hazy]"
    args = settings(data, vit, classes, "text.zero_shot=calip", "run=three", "model.size=n", "device=cpu")
    main(args)
    training = [*args, "train.steps=1", "train.batch=2", "train.crop=16", "train.precision=fp32"]
    accepted(scripts, tmp_path, "train.py", *training, timeout=300)
    saved = torch.load(tmp_path / "checkpoints" / "three" / "last.pt", weights_only=True)
    assert saved["network"]["state"]["text"].shape == (3, 32)
    expected = {"encoder": vit[0], "source": vit[1], "zero_shot": "calip", "beta2": 0.5, "beta3": 0.05}
    assert expected.items() <= saved["text"].items() and len(saved["text"]["classes"]) == 3


def test_the_benchmark_of_labelling_labels(data, vit, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["label", str(data / "train"), "--encoder", vit[0], "--repeats", "1"])
    label.main()
    output = capsys.readouterr().out
    assert "labelling" in output and f"{len(NAMES)} images, batch 64" in output
