"""Folders of pairs, augmentation and order."""

import cv2
import numpy as np
import pytest
import torch

from datasets import listing
from datasets.augment import augment, centre_crop, thin
from datasets.batches import Batches
from datasets.images import read_image, to_floats, to_image, to_tensor, write_image
from datasets.order import TrainingOrder, same_size_batches
from datasets.pairs import EvaluationSamples, Pairs, TrainingSamples, hold_out


def picture(seed=0, height=20, width=30, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def make_pairs(root, names=("a.png", "b.png"), **size):
    for name in names:
        write_image(root / "train" / "hazy" / name, picture(1, **size))
        write_image(root / "train" / "GT" / name, picture(2, **size))
    return root


def test_pairs_are_matched_by_name_and_by_stem(tmp_path):
    make_pairs(tmp_path)
    write_image(tmp_path / "train" / "hazy" / "c.bmp", picture())
    write_image(tmp_path / "train" / "GT" / "c.png", picture())
    pairs = Pairs(tmp_path, "train")
    assert pairs.names == ["a.png", "b.png", "c.bmp"]
    assert [pairs.clear.name(i) for i in range(3)] == ["a.png", "b.png", "c.png"]
    assert pairs.sizes.tolist() == [[20, 30]] * 3


def break_pairs(root, how):
    hazy, clear = (root / "train" / side for side in ("hazy", "GT"))
    if how == "no partner":
        (clear / "b.png").unlink()
    elif how == "no hazy":
        (hazy / "b.png").unlink()
    elif how == "size":
        write_image(clear / "b.png", picture(height=21))
    elif how == "empty file":
        (clear / "b.png").write_bytes(b"")
    elif how == "not an image":
        (clear / "b.png").write_bytes(b"hello")
    elif how == "empty folder":
        [path.unlink() for path in clear.iterdir()]
    elif how == "no folder":
        clear.rename(root / "train" / "gt2")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no partner", "hazy: 1 image without a partner in GT, first b.png"),
        ("no hazy", "GT: 1 image without a partner in hazy, first b.png"),
        ("size", r"1 image of unequal size, first .*b.png \(30 x 20\) and .*b.png \(30 x 21\)"),
        ("empty file", "b.png cannot be read: it is empty"),
        ("not an image", "b.png cannot be read"),
        ("empty folder", "no images in .*GT"),
        ("no folder", "no folder .*GT"),
    ],
)
def test_what_is_wrong_with_a_set_is_named_when_it_is_opened(tmp_path, how, message):
    break_pairs(make_pairs(tmp_path), how)
    with pytest.raises(ValueError, match=message):
        Pairs(tmp_path, "train")


def test_a_missing_root_and_a_bomb_are_named(tmp_path):
    with pytest.raises(ValueError, match="data set folder .*nowhere does not exist"):
        Pairs(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="more than data.max_pixels=500"):
        Pairs(make_pairs(tmp_path), "train", max_pixels=500)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_survive_the_tensor_range(tmp_path, dtype):
    image = picture(dtype=dtype)
    write_image(tmp_path / "a.png", image)
    tensor = to_tensor(read_image(tmp_path / "a.png"))
    assert -1 <= tensor.min() and tensor.max() <= 1
    assert np.array_equal(to_image(tensor, dtype), image)


def test_grey_alpha_and_palette_become_rgb(tmp_path):
    grey = picture()[:, :, 0]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([picture(), grey]))
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.dstack([grey] * 3))
    assert np.array_equal(read_image(tmp_path / "alpha.png"), picture()[:, :, ::-1])


@pytest.mark.parametrize("size", [(20, 30), (64, 64), (1, 100)])
def test_augmentation_keeps_pairs_aligned(size):
    image = picture(3, *size)
    options = {"crop": 24, "edge_decay": 0.5, "flip": True, "rotate": True}
    for seed in range(20):
        a, b = augment([image, 255 - image], np.random.default_rng(seed), **options)
        assert a.shape == (24, 24, 3)
        assert np.array_equal(a, 255 - b)


def test_edge_decay_pushes_crops_to_the_edges():
    image = np.arange(100, dtype=np.uint8).reshape(100, 1, 1).repeat(100, 1)

    def share(edge_decay):
        rng = np.random.default_rng(0)
        tops = [int(augment([image], rng, 50, edge_decay)[0].min()) for _ in range(1000)]
        return np.mean([top in (0, 50) for top in tops])

    assert share(0) < 0.08
    assert share(1) > 0.45


def test_thinner_haze_is_haze_of_the_same_airlight_and_another_transmission():
    rng = np.random.default_rng(0)
    clear, airlight, t, s = rng.random((6, 5, 3)), np.array([0.8, 0.9, 1.0]), rng.random((6, 5, 1)), 0.3
    thinner = thin(clear * t + airlight * (1 - t), clear, rng, (s, s))
    assert np.allclose(thinner, clear * (1 - s * (1 - t)) + airlight * s * (1 - t))


def test_centre_crop():
    image = picture(0, 21, 30)
    assert np.array_equal(centre_crop(image, 10), image[5:15, 10:20])
    assert np.array_equal(centre_crop(image, 25), image[:, 2:27])


def test_a_sample_is_a_function_of_seed_and_position(tmp_path):
    pairs = Pairs(make_pairs(tmp_path, height=40), "train")
    samples = TrainingSamples(pairs, np.eye(2, dtype=np.float32), 7, crop=16)
    assert samples[0, 5]["hazy"].equal(samples[0, 5]["hazy"])
    assert not samples[0, 5]["hazy"].equal(samples[0, 6]["hazy"])
    assert samples[1, 5]["prob"].tolist() == [0, 1]


def positions(**options):
    return [sample for batch in TrainingOrder(num_images=5, batch=4, seed=1, **options) for sample in batch]


def test_the_order_is_the_same_for_any_processes_parts_and_resumption():
    straight = positions(first_step=0, last_step=6)
    assert [position for _, position in straight] == list(range(24))
    assert sorted(image for image, _ in straight[:5]) == [0, 1, 2, 3, 4] != [image for image, _ in straight[:5]]
    assert positions(first_step=0, last_step=2) + positions(first_step=2, last_step=6) == straight
    shares = [list(TrainingOrder(5, 4, 1, 0, 6, rank, 2, parts=2)) for rank in range(2)]
    assert sorted(sum(sum(shares, []), []), key=lambda sample: sample[1]) == straight


def test_equal_sizes_are_batched_and_every_image_comes_once():
    sizes = [(3, 4), (5, 6), (3, 4), (3, 4), (5, 6)]
    parts = [same_size_batches(sizes, 2, rank, 2) for rank in range(2)]
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(5))
    assert all(len({sizes[i] for i in batch}) == 1 for part in parts for batch in part)


def test_scenes_are_held_out_whole():
    names = [f"{scene:04}_{k}.png" for scene in range(10) for k in range(3)]
    kept, held = hold_out(names, 0.2, seed=1)
    assert len(held) == 6 and sorted(kept + held) == list(range(30))
    assert not {names[i][:4] for i in kept} & {names[i][:4] for i in held}
    assert hold_out(names, 0.2, seed=1) == (kept, held) != hold_out(names, 0.2, seed=2)


def test_one_scene_cannot_be_split():
    with pytest.raises(ValueError, match="cannot be split"):
        hold_out(["0001_1.png", "0001_2.png"], 0.5, seed=1)


def test_a_centre_crop_shortens_the_sizes(tmp_path):
    pairs = Pairs(make_pairs(tmp_path), "train")
    samples = EvaluationSamples(pairs, np.zeros((2, 1)), crop=24)
    assert samples.sizes == [[20, 24]] * 2
    assert samples[0]["hazy"].shape == (3, 20, 24)


def test_a_large_set_is_opened_from_its_index_and_changed_files_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "INDEXED", 2)
    make_pairs(tmp_path)
    Pairs(tmp_path, "train")
    read = []
    monkeypatch.setattr(listing, "image_size", lambda path, limit: read.append(path.name) or (25, 30))
    assert Pairs(tmp_path, "train").sizes.tolist() == [[20, 30]] * 2 and not read
    make_pairs(tmp_path, ("b.png",), height=25)
    (tmp_path / "train" / ".GT-sizes.npz").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match="1 image of unequal size"):  # of a.png, whose side in GT is read again, too
        Pairs(tmp_path, "train")
    assert read == ["b.png", "a.png", "b.png"]


def test_headers_that_other_processes_read_say_the_same(tmp_path, monkeypatch):
    pairs = Pairs(make_pairs(tmp_path, [f"{i}.png" for i in range(5)]), "train")
    monkeypatch.setattr(listing, "CHUNK", 2)
    assert np.array_equal(Pairs(tmp_path, "train").sizes, pairs.sizes)
    for i in (1, 4):
        (tmp_path / "train" / "GT" / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"GT/1.png cannot be read: .*\(2 such files\)"):
        Pairs(tmp_path, "train")


def test_images_that_travel_as_bytes_become_the_same_floats_also_beside_16_bits(tmp_path):
    random = np.random.default_rng(0)
    for kind in ("hazy", "GT"):
        for i, dtype in enumerate((np.uint8, np.uint16, np.uint8)):
            image = random.integers(0, np.iinfo(dtype).max, (20, 24, 3), dtype, endpoint=True)
            write_image(tmp_path / "train" / kind / f"{i}.png", image)
    samples = EvaluationSamples(Pairs(tmp_path, "train"), np.zeros((3, 1)))
    for batch in Batches(samples, [[0, 2], [1, 0]], torch.device("cpu"), 0):
        for row, index in enumerate(batch["index"]):
            assert all(torch.equal(batch[name][row], to_floats(samples[index][name])) for name in ("hazy", "clear"))
