"""predict.py: photographs come back dehazed, whatever stands in the way of one; and the memory it may take."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import predict
from datasets.domains import Domains, one_hot, save_domains, stand_in_text
from datasets.images import load, read_image, to_image, to_tensor, write_image
from models.clip import ZeroShot, load_encoder
from models.fast.inference_network import InferenceForm
from tests.made import save_network
from tests.reference import published_state
from tests.tiny_clip import CLASSES, PROMPTS, make_encoder, make_images
from utils.cost import free_memory, number, parse_size


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, checkpoint="n.pt", source="in", output="out"):
    return predict.main(["--checkpoint", checkpoint, "--input", source, "--output", output, *arguments])


def noise(height, width, channels=3, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def dehazed(network, pixels, prob=None):
    with torch.inference_mode():
        return to_image(network(to_tensor(pixels)[None], prob)[0], pixels.dtype)


def differ(left, right):
    return np.abs(left.astype(int) - right).max()


def test_a_folder_comes_back_dehazed_under_its_names_and_one_broken_file_stops_nothing(scripts, tmp_path):
    network = save_network(tmp_path / "n.pt")
    photos = {
        "a.png": noise(41, 50),
        "sub/alpha.png": noise(41, 50, 4),
        "sub/grey.tif": noise(41, 50)[:, :, 0],
        "deep.tif": noise(300, 90, dtype=np.uint16),
        "c.JPG": noise(41, 50),
        "d.bmp": noise(1, 1),
    }
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name, image in photos.items():
        cv2.imwrite(str(tmp_path / "in" / name), image)
    (tmp_path / "in" / "broken.png").write_bytes(b"hello")
    command = ["--checkpoint", "n.pt", "--input", "in", "--output", "out", "--domain", "indoor", "--compare"]
    done = scripts(tmp_path, "predict.py", *command, timeout=300)
    assert done.code == 1 and "6 of 7 images dehazed into out" in done.stdout
    assert "in/broken.png cannot be read: it is not an image" in done.stderr and "Traceback" not in done.stderr
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == set(photos) | {f"compare/{name}" for name in photos}
    for name in photos:
        (header, before), (kept, after) = (load(tmp_path / folder / name) for folder in ("in", "out"))
        assert (kept.format, kept.grey, kept.bits) == (header.format, header.grey, header.bits)
        assert after.shape == before.shape and np.array_equal(before[:, :, 3:], after[:, :, 3:])
        if not header.grey and header.format != "JPEG":
            assert differ(after[:, :, :3], dehazed(network, before[:, :, :3], torch.tensor([[1.0, 0.0]]))) <= 1
        assert read_image(tmp_path / "out" / "compare" / name).shape[1] == 2 * before.shape[1]


def test_results_are_kept_or_replaced_as_asked(capsys):
    network = save_network("n.pt", "none")
    make_images(Path("in"), ["a.png", "b.png"], size=(41, 50))
    assert run("--max-memory", "2GB") == 0
    assert differ(read_image("out/a.png"), dehazed(network, read_image("in/a.png"))) <= 1
    with pytest.raises(ValueError, match="2 of 2 results exist, first out/a.png: add --overwrite or --skip-existing"):
        run()
    write_image("out/a.png", noise(41, 50))
    write_image("in/c.png", noise(41, 50))
    assert run("--skip-existing") == 0 and "2 of 3 results exist" in capsys.readouterr().out
    assert np.array_equal(read_image("out/a.png"), noise(41, 50)) and read_image("out/c.png").shape == (41, 50, 3)
    assert run("--overwrite") == 0 and not np.array_equal(read_image("out/a.png"), noise(41, 50))


def test_strength_is_how_much_of_the_change_is_applied():
    network = save_network("n.pt", "none")
    write_image("in/a.png", noise(41, 50))
    hazy = to_tensor(noise(41, 50))[None]
    for strength in ("0", "0.5", "2"):
        assert run("--strength", strength, "--overwrite") == 0
        with torch.inference_mode():
            expected = to_image((hazy + float(strength) * (network(hazy) - hazy))[0], np.uint8)
        assert differ(read_image("out/a.png"), expected) <= 1


def test_an_output_of_low_precision_that_is_not_finite_is_computed_again(monkeypatch):
    network = save_network("n.pt", "none")
    write_image("in/a.png", noise(41, 50))
    forward, used = InferenceForm.forward, []

    def overflowing(form, *args, **kwargs):
        used.append(form.dtype)
        return forward(form, *args, **kwargs) * (1 if form.dtype == torch.float32 else float("inf"))

    monkeypatch.setattr(predict, "inference_form", InferenceForm)
    monkeypatch.setattr(InferenceForm, "forward", overflowing)
    assert run("--precision", "bf16") == 0 and used == [torch.bfloat16, torch.float32]
    assert differ(read_image("out/a.png"), dehazed(network, noise(41, 50))) <= 1


@pytest.mark.parametrize(("arguments", "line"), [
    (["--domain", "sea"], "--domain sea: the network knows indoor or outdoor, or auto"),
    (["--domain", "indoor", "--max-memory", "much"], "'much' is not a size in memory"),
    (["--strength", "3"], "--strength 3.0 is not between 0 and 2"),
])  # fmt: skip
def test_a_mistake_is_named_before_any_work(tmp_path, arguments, line):
    save_network("n.pt")
    write_image("in/a.png", noise(41, 50))
    with pytest.raises(ValueError, match=line):
        run(*arguments)
    assert not (tmp_path / "out").exists()


def test_without_clip_a_network_of_stand_in_text_weights_every_domain_equally(capsys):
    network = save_network("n.pt")
    write_image("in/a.png", noise(41, 50))
    assert run() == 0 and "domain unknown (no CLIP weights)" in capsys.readouterr().out
    assert differ(read_image("out/a.png"), dehazed(network, noise(41, 50), torch.tensor([[0.5, 0.5]]))) <= 1


def test_too_little_memory_is_one_line(capsys):
    save_network("n.pt", "none")
    write_image("in/a.png", noise(41, 50))
    assert run("--max-memory", "1MB") == 1 and "a.png: 52 x 44 pixels need" in capsys.readouterr().err


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_the_domain_is_clips(tmp_path, capsys, labels):
    encoder = make_encoder(tmp_path / "clip", "vit")
    zero_shot = ZeroShot(load_encoder(*encoder), CLASSES, PROMPTS)
    facts = {"encoder": encoder[0], "source": encoder[1], "zero_shot": "clip", "beta2": 0.0, "beta3": 0.0}
    network = save_network("n.pt", text=zero_shot.text, facts={**facts, "labels": labels})
    make_images(Path("in"), ["a.png", "b.png"], size=(41, 50))
    assert run(source="in/*.png") == 0
    printed = capsys.readouterr().out
    for name in ("a.png", "b.png"):
        image = np.asarray(Image.open(f"in/{name}"))
        prob = zero_shot.prob(zero_shot.preprocess(image)[None])
        prob = torch.eye(2)[prob.argmax(1)] if labels == "hard" else prob
        assert differ(read_image(f"out/{name}"), dehazed(network, image, prob)) <= 1
        assert f"{name}: {CLASSES[prob.argmax()]}" in printed


def test_a_published_network_with_text_takes_it_from_a_labelled_folder(tmp_path):
    torch.save({"state_dict": published_state("mixcldehazenet_t")}, "published.pth")
    write_image("in/a.png", noise(41, 50))
    with pytest.raises(ValueError, match="published.pth: a MixCLDehazeNet checkpoint lacks its text embeddings"):
        run("--domain", "indoor", checkpoint="published.pth")
    classes = ("indoor", "outdoor")
    domains = Domains(
        *(classes, PROMPTS, stand_in_text(2), ("a.png",), one_hot(classes, "indoor")[None], np.ones(1, bool)),
        *("stand-in", "none", "none"),
    )
    make_images(tmp_path / "labelled" / "hazy", ["a.png"])
    save_domains(tmp_path / "labelled", domains)
    assert run("--domain", "indoor", "--text", "labelled", checkpoint="published.pth") == 0


def test_sizes_in_memory_are_read_as_people_write_them():
    sizes = {"4GB": 4 * 10**9, "500M": 5 * 10**8, "1.5 GiB": 3 * 2**29, "2gb": 2 * 10**9}
    assert {text: parse_size(text) for text in sizes} == sizes
    for text in ("", "GB", "-1GB", "0", "0GB", "4 apples", "nan"):
        with pytest.raises(ValueError, match="is not a size in memory"):
            parse_size(text)


def test_free_memory_is_within_the_machines_and_within_what_is_allowed():
    cpu, held = torch.device("cpu"), number("/proc/self/status", "VmRSS:", 1024)
    assert held and 0 < free_memory(cpu) < 2**50
    assert free_memory(cpu, limit=2 * held) == pytest.approx(held, rel=0.1)
