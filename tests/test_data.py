"""Folders of pairs, augmentation and order."""

import shutil

import numpy as np
import pytest
import torch

from datasets.augment import augment, centre_crop, thin
from datasets.batches import Batches
from datasets.images import write_image
from datasets.order import TrainingOrder
from datasets.pairs import EvaluationSamples, Pairs, TrainingSamples, hold_out
from tests.made import bomb, encoded, picture


def make_pairs(root, names=("a.png", "b.png"), height=20, width=30):
    for name in names:
        write_image(root / "train" / "hazy" / name, picture(1, height, width))
        write_image(root / "train" / "GT" / name, picture(2, height, width))
    return root


def test_pairs_are_matched_by_name_and_by_stem(tmp_path):
    make_pairs(tmp_path)
    write_image(tmp_path / "train" / "hazy" / "c.bmp", picture())
    write_image(tmp_path / "train" / "GT" / "c.png", picture())
    pairs = Pairs(tmp_path, "train")
    assert pairs.names == ["a.png", "b.png", "c.bmp"]
    assert pairs.clear.names == ["a.png", "b.png", "c.png"]
    assert pairs.sizes == [(20, 30), (20, 30), (24, 32)] and pairs.subset([0]).sizes == [(20, 30)]


FAULTS = {  # what is done to a set of a.png and b.png, and what is said of it when it is opened
    "no root": (lambda train: shutil.rmtree(train.parent), "data set folder .* does not exist: set data.root"),
    "no folder": (lambda train: shutil.rmtree(train / "GT"), "no images in .*GT: expected"),
    "other files": (lambda train: [path.rename(f"{path}.txt") for path in (train / "hazy").iterdir()], "no images in"),
    "a hazy image alone": (lambda train: (train / "GT/b.png").unlink(), "1 without a partner in .*GT, first b"),
    "a clear image alone": (lambda train: (train / "hazy/b.png").unlink(), "without a partner in .*hazy, first b"),
    "a stem twice": (
        lambda train: [shutil.copy(train / "GT/a.png", train / c) for c in ("hazy/c.png", "GT/c.jpg", "GT/c.tif")],
        "first c.png",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_with_a_set_is_named_when_it_is_opened(tmp_path, name):
    change, message = FAULTS[name]
    change(make_pairs(tmp_path / "set") / "train")
    with pytest.raises(ValueError, match=message):
        Pairs(tmp_path / "set", "train")


BROKEN = {  # what GT/b.png becomes, and what is said of it when it is scored or trained on
    "unequal": (encoded(image=picture()), r"hazy/b.png \(30 x 20\) and .*GT/b.png \(32 x 24\) are of unequal size"),
    "a text": (b"an image", "GT/b.png cannot be read"),
    "too large": (bomb(30_000, 30_000), "GT/b.png cannot be read: 30000 x 30000 pixels"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pair_is_named_by_headers_before_a_test_and_when_it_is_read_in_training(tmp_path, name):
    content, message = BROKEN[name]
    pairs = Pairs(make_pairs(tmp_path), "train")
    (tmp_path / "train/GT/b.png").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        EvaluationSamples(pairs, np.zeros((2, 1)))
    with pytest.raises(ValueError, match=message):
        TrainingSamples(pairs, np.zeros((2, 1)), 1, crop=16)[1, 0]


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
    shares = [list(TrainingOrder(5, 4, 1, 0, 6, rank, 2, parts=2)) for rank in range(2)]
    assert sorted(sum(sum(shares, []), []), key=lambda sample: sample[1]) == straight


def test_scenes_are_held_out_whole():
    names = [f"{scene:04}_{k}.png" for scene in range(10) for k in range(3)]
    kept, held = hold_out(names, 0.2, seed=1)
    assert len(held) == 6 and sorted(kept + held) == list(range(30))
    assert not {names[i][:4] for i in kept} & {names[i][:4] for i in held}
    assert hold_out(names, 0.2, seed=1) == (kept, held) != hold_out(names, 0.2, seed=2)
    with pytest.raises(ValueError, match="cannot be split"):
        hold_out(["0001_1.png", "0001_2.png"], 0.5, seed=1)


def test_a_centre_crop_shortens_the_sizes(tmp_path):
    image = picture(0, 21, 30)
    assert np.array_equal(centre_crop(image, 10), image[5:15, 10:20])
    pairs = Pairs(make_pairs(tmp_path), "train")
    samples = EvaluationSamples(pairs, np.zeros((2, 1)), crop=24)
    assert samples.sizes == [[20, 24]] * 2
    assert samples[0]["hazy"].shape == (3, 20, 24)


def test_images_of_8_and_16_bits_share_a_batch(tmp_path):
    for kind in ("hazy", "GT"):
        for i, dtype in enumerate((np.uint8, np.uint16)):
            write_image(tmp_path / "train" / kind / f"{i}.png", picture(i, dtype=dtype))
    samples = EvaluationSamples(Pairs(tmp_path, "train"), np.zeros((2, 1)))
    (batch,) = Batches(samples, [[1, 0]], torch.device("cpu"), 0)
    for row, index in enumerate(batch["index"]):
        assert all(torch.equal(batch[name][row], samples[index][name]) for name in ("hazy", "clear"))
