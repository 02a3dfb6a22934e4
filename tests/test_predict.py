"""predict.py, run as a user runs it, and the memory it may take."""


import numpy as np
import pytest
import torch
from PIL import Image

from datasets.domains import Domains, one_hot, save_domains, stand_in_text
from datasets.images import to_image, to_tensor
from datasets.photos import Photo, read_photo, write_photo
from models.clip import ZeroShot, load_encoder
from tests.made import save_network
from tests.reference import published_state
from tests.tiny_clip import CLASSES, PROMPTS, make_encoder, make_images
from utils.memory import free_memory, parse_size, resident


@pytest.fixture
def predict(scripts):
    return lambda folder, *arguments: scripts(folder, "predict.py", *arguments, timeout=300)


def noise(height, width, channels=3, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def dehazed(network, pixels, prob=None):
    with torch.inference_mode():
        return to_image(network(to_tensor(pixels)[None], prob)[0], pixels.dtype)


def differ(left, right):
    return np.abs(left.astype(int) - right).max()


def test_a_folder_comes_back_dehazed_under_its_names_and_one_broken_file_stops_nothing(predict, tmp_path):
    network = save_network(tmp_path / "n.pt")
    photos = {
        "a.png": Photo(noise(41, 50), "PNG"),
        "sub/alpha.png": Photo(noise(41, 50), "PNG", alpha=noise(41, 50)[:, :, 0]),
        "sub/grey.tif": Photo(noise(41, 50), "TIFF", grey=True),
        "sub/deep.png": Photo(noise(41, 50, dtype=np.uint16), "PNG", alpha=noise(41, 50, dtype=np.uint16)[:, :, 0]),
        "deep.tif": Photo(noise(300, 90, dtype=np.uint16), "TIFF"),
        "b.webp": Photo(noise(41, 50), "WEBP", lossless=True),
        "c.JPG": Photo(noise(41, 50), "JPEG"),
        "d.bmp": Photo(noise(1, 1), "BMP"),
    }
    for name, photo in photos.items():
        write_photo(tmp_path / "in" / name, photo)
    (tmp_path / "in" / "broken.png").write_bytes(b"hello")
    command = ["--checkpoint", "n.pt", "--input", "in", "--output", "out", "--domain", "indoor", "--compare"]
    done = predict(tmp_path, *command)
    assert done.code == 1 and "8 of 9 images dehazed into out" in done.stdout
    assert "in/broken.png: cannot be read: it is not an image" in done.stderr and "Traceback" not in done.stderr
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == set(photos) | {f"compare/{name}" for name in photos}
    for name in photos:
        before, after = (read_photo(tmp_path / folder / name, 2**40) for folder in ("in", "out"))
        assert (after.format, after.grey, after.pixels.dtype) == (before.format, before.grey, before.pixels.dtype)
        assert (before.alpha is None and after.alpha is None) or np.array_equal(before.alpha, after.alpha)
        assert after.pixels.shape == before.pixels.shape
        if not before.grey and before.format != "JPEG":
            assert differ(after.pixels, dehazed(network, before.pixels, torch.tensor([[1.0, 0.0]]))) <= 1
        both = read_photo(tmp_path / "out" / "compare" / name, 2**40).pixels
        assert both.shape[1] == 2 * before.pixels.shape[1]


def test_a_second_run_overwrites_nothing_and_a_network_without_text_needs_no_domain(predict, tmp_path):
    network = save_network(tmp_path / "n.pt", "none")
    write_photo(tmp_path / "a.png", Photo(noise(41, 50), "PNG"))
    command = [tmp_path, "--checkpoint", "n.pt", "--input", "a.png", "--output", "out", "--max-memory", "2GB"]
    first, second = predict(*command), predict(*command)
    assert first.code == 0, first.stderr
    assert second.code == 2 and second.stderr.strip() == (
        "predict.py: 1 of 1 results exist, first out/a.png: add --overwrite, or choose another --output"
    )
    assert differ(read_photo(tmp_path / "out" / "a.png", 2**40).pixels, dehazed(network, noise(41, 50))) <= 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--domain", "sea"], "--domain sea is none of the network's: indoor, outdoor, or auto"),
        (["--domain", "indoor", "--max-memory", "much"], "'much' is no size in memory"),
    ],
)
def test_a_mistake_is_one_line(predict, tmp_path, arguments, line):
    save_network(tmp_path / "n.pt")
    write_photo(tmp_path / "a.png", Photo(noise(41, 50), "PNG"))
    done = predict(tmp_path, "--checkpoint", "n.pt", "--input", "a.png", "--output", "out", *arguments)
    assert done.code == 2 and line in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_clip_a_network_of_stand_in_text_is_told_every_domain_equally(predict, tmp_path):
    network = save_network(tmp_path / "n.pt")
    write_photo(tmp_path / "a.png", Photo(noise(41, 50), "PNG"))
    done = predict(tmp_path, "--checkpoint", "n.pt", "--input", "a.png", "--output", "out")
    assert done.code == 0 and "domain: told all equally" in done.stdout, done.stderr
    expected = dehazed(network, noise(41, 50), torch.tensor([[0.5, 0.5]]))
    assert differ(read_photo(tmp_path / "out" / "a.png", 2**40).pixels, expected) <= 1


def test_too_little_memory_is_one_line(predict, tmp_path):
    save_network(tmp_path / "n.pt", "none")
    write_photo(tmp_path / "a.png", Photo(noise(41, 50), "PNG"))
    done = predict(tmp_path, "--checkpoint", "n.pt", "--input", "a.png", "--output", "out", "--max-memory", "1MB")
    assert done.code == 1 and "a.png: 52 x 44 pixels need" in done.stderr


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_the_domain_is_clips(predict, tmp_path, labels):
    encoder = make_encoder(tmp_path / "clip", "vit")
    zero_shot = ZeroShot(load_encoder(*encoder), CLASSES, PROMPTS)
    facts = {"encoder": encoder[0], "source": encoder[1], "zero_shot": "clip", "beta2": 0.0, "beta3": 0.0}
    network = save_network(tmp_path / "n.pt", text=zero_shot.text, facts={**facts, "labels": labels})
    make_images(tmp_path / "in", ["a.png", "b.png"], size=(41, 50))
    done = predict(tmp_path, "--checkpoint", "n.pt", "--input", "in/*.png", "--output", "out")
    assert done.code == 0, done.stderr
    for name in ("a.png", "b.png"):
        pixels = np.asarray(Image.open(tmp_path / "in" / name))
        prob = zero_shot.prob(zero_shot.preprocess(pixels)[None])
        prob = torch.eye(2)[prob.argmax(1)] if labels == "hard" else prob
        assert differ(np.asarray(Image.open(tmp_path / "out" / name)), dehazed(network, pixels, prob)) <= 1
        assert f"{name}: {CLASSES[prob.argmax()]}" in done.stdout
    if labels == "soft":
        return
    torch.save({name: -value for name, value in torch.load(encoder[1]).items()}, tmp_path / "other.pt")
    done = predict(
        *(tmp_path, "--checkpoint", "n.pt", "--input", "in", "--output", "new", "--clip-weights", tmp_path / "other.pt")
    )
    assert done.code == 2 and "other text features than the network has" in done.stderr


def test_a_published_network_with_text_takes_it_from_a_labelled_folder(predict, tmp_path):
    torch.save({"state_dict": published_state("mixcldehazenet_t")}, tmp_path / "published.pth")
    write_photo(tmp_path / "a.png", Photo(noise(41, 50), "PNG"))
    command = [tmp_path, "--checkpoint", "published.pth", "--input", "a.png", "--output", "out", "--domain", "indoor"]
    done = predict(*command)
    assert done.code == 2 and "published.pth is a published MixCLDehazeNet checkpoint" in done.stderr
    classes = ("indoor", "outdoor")
    domains = Domains(
        *(classes, PROMPTS, stand_in_text(2), ("a.png",), one_hot(classes, "indoor")[None], np.ones(1, bool)),
        *("stand-in", "none", "none"),
    )
    (tmp_path / "labelled").mkdir()
    save_domains(tmp_path / "labelled", domains)
    done = predict(*command, "--text", "labelled")
    assert done.code == 0, done.stderr


def test_sizes_in_memory_are_read_as_people_write_them():
    sizes = {"4GB": 4 * 10**9, "500M": 5 * 10**8, "1.5 GiB": 3 * 2**29, "1000": 1000, "2kb": 2000}
    assert {text: parse_size(text) for text in sizes} == sizes
    for text in ("", "GB", "-1GB", "0", "4 apples", "nan"):
        with pytest.raises(ValueError, match="is no size in memory"):
            parse_size(text)


def test_free_memory_is_within_the_machines_and_within_what_is_allowed():
    cpu = torch.device("cpu")
    assert 0 < free_memory(cpu) < 2**50
    assert free_memory(cpu, most=10**6) == 10**6 - resident() if resident() else True
