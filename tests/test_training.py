"""What train.py makes of its settings."""

import copy
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import train
from datasets.batches import num_workers
from tests import reference, tiny
from tests.made import Plain
from utils.config import load_config
from utils.losses import Loss
from utils.settings import Loss as LossSettings
from utils.settings import Train, differences
from utils.training_state import Average, TrainingState, learning_rate

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.make(tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.precision=bf16", "train.accumulate=2", "train.clip=1", "train.ema=0", "train.recompute=true"),
        ("train.precision=fp16", "train.batch=2", "model.fusion=none", "train.warmup=2", "data.workers=null"),
        ("model.fusion=parametric", "model.merge=add", "text.shuffle=true", "data.rotate=true", "data.edge_decay=0.5"),
    ],
)
def test_it_learns(folder, capsys, overrides):
    code, output, errors = tiny.train(capsys, "train.steps=15", *overrides)
    assert code == 0 and "done, step 15 of 15" in output, errors
    scores = [line["psnr"] for line in tiny.log(folder) if line["event"] == "val"]
    assert len(scores) == 5 and scores[-1] > scores[0] + 0.5
    assert {"lr", "loss", "l1", "gradient_norm"} <= set(tiny.log(folder)[0])


def test_the_learning_rate_rises_and_falls_to_1_percent():
    settings = Train(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == max(rates) == 1 and rates[100] == pytest.approx(0.01)
    assert rates[55] == pytest.approx(0.505)


def step_of(network, **changes):
    """One step over 4 fixed images: the values, and the gradients that it left."""
    generator = torch.Generator().manual_seed(0)
    hazy, clear = torch.rand(2, 4, 3, 8, 8, generator=generator)
    settings = replace(Train(batch=4, precision="fp32"), **changes)
    share = 4 // settings.accumulate
    batches = (
        {"hazy": some_hazy, "clear": some_clear, "prob": torch.ones(share, 1)}
        for some_hazy, some_clear in zip(hazy.split(share), clear.split(share), strict=True)
    )
    state = TrainingState(network, settings, CPU, describe=None)
    train.optimise(network, state, Loss(LossSettings()), batches, settings, CPU)
    return state.means(), torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def test_a_batch_in_parts_is_the_whole_batch():
    network = Plain()
    results = [step_of(copy.deepcopy(network), accumulate=parts) for parts in (1, 2, 4)]
    for values, gradient in results[1:]:
        assert values == pytest.approx(results[0][0], rel=1e-5)
        assert torch.allclose(gradient, results[0][1], atol=1e-6)


def test_clipping_limits_the_gradient_and_the_log_shows_what_it_was():
    values, gradient = step_of(Plain(), clip=0.01)
    assert gradient.norm() <= 0.0101 < values["gradient_norm"]


def test_an_overflow_in_fp16_skips_the_step():
    network = Plain()
    before = network.weight.clone()
    network.weight.register_hook(lambda gradient: gradient * float("inf"))
    values, _ = step_of(network, precision="fp16")
    assert values["skipped"] == 1 and torch.equal(network.weight, before)


def test_the_average_of_the_weights_is_exponential():
    network, expected = torch.nn.BatchNorm1d(1), 1.0
    average = Average(network, decay=0.5)
    for n, value in enumerate((3.0, 5.0, 9.0)):
        torch.nn.init.constant_(network.weight, value)
        average.update()
        rate = min(0.5, (1 + n) / (10 + n))
        expected = value if n == 0 else rate * expected + (1 - rate) * value
    assert average.module.weight.item() == pytest.approx(expected)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(folder, capsys):
    tiny.train(capsys, "train.save_every=3")
    path = folder / "checkpoints/tiny/last.pt"
    state = {**torch.load(path), "step": 6, "validated": 6}
    state["network"]["state"]["skip1.weight"].fill_(float("nan"))
    torch.save(state, path)
    before = path.read_bytes()
    code, _, errors = tiny.train(capsys, "train.save_every=3")
    assert code == 2 and errors.count("\n") == 1
    assert "loss is nan at step 7: lower train.lr" in errors
    assert path.read_bytes() == before


def test_a_dry_run_says_what_a_run_costs_and_writes_nothing(folder, capsys):
    code, output, errors = tiny.train(capsys, "model.size=s", "train.crop=256", "--dry-run")
    assert code == 0 and "size: s" in output, errors
    assert "parameters     3,188,296" in output
    assert "multiply-adds  29.18 G an image of crop 256, forward" in output
    assert "steps          8 of batch 4: 4.6 epochs of 7 pairs" in output
    assert not (folder / "checkpoints").exists()


def test_choosing_on_the_test_set_is_marked(folder, capsys):
    code, output, errors = tiny.train(capsys, "data.val=test-crop")
    assert code == 0 and "3 for validation (centre crops of the TEST set, the published way)" in output, errors
    assert tiny.log(folder)[-1]["pairs"] == "centre crops of the TEST set, the published way"
    assert tiny.state(folder, which="best")["settings"]["data"]["val"] == "test-crop"


@pytest.mark.parametrize("system", ["mixdehazenet_t", "mixcldehazenet_t"])
def test_training_starts_from_published_weights(folder, capsys, system):
    published = {name: value.float() for name, value in reference.published_state(system).items()}
    torch.save({"state_dict": {f"module.{name}": value for name, value in published.items()}}, "published.pth")
    fusion = "parametric" if "cl" in system else "calip"
    options = ("model.init=published.pth", "model.size=t", "train.steps=2", "train.lr=1e-9")
    code, _, errors = tiny.train(capsys, *options, f"model.fusion={fusion}")
    assert code == 0, errors
    weight = tiny.state(folder)["network"]["state"]["stage1.0.pointwise.weight"]
    assert torch.allclose(weight, published["layer1.blocks.0.conv1.weight"], atol=1e-6)
    Path("published.pth").unlink()
    assert tiny.train(capsys, *options, f"model.fusion={fusion}")[0] == 0  # resuming does not need it


def test_training_starts_from_an_own_checkpoint_and_its_average(folder, capsys):
    tiny.train(capsys)
    options = ("run=second", "model.init=checkpoints/tiny/best.pt", "train.steps=1", "train.lr=1e-9")
    code, _, errors = tiny.train(capsys, *options)
    assert code == 0, errors
    ours, theirs = tiny.state(folder, "second")["network"]["state"], tiny.state(folder, which="best")["ema"]
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-7) for name in ours if "weight" in name)
    code, _, errors = tiny.train(capsys, *options, "run=third", "model.size=t")
    assert code == 2 and "model.init=checkpoints/tiny/best.pt: the weights are of a network of size n, not t" in errors


@pytest.mark.parametrize("path", sorted((tiny.ROOT / "configs/ablations").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_ablation_changes_one_thing(path):
    changed = differences(load_config(path.with_name("base.yaml")), load_config(path))
    assert len(set(changed) - {"run", "test.domain"}) == (path.stem not in ("base", "calip"))


def test_lines_tell_how_it_goes_at_most_twice_a_minute(folder, capsys):
    _, _, errors = tiny.train(capsys)
    lines = [line for line in errors.splitlines() if "validation" not in line]
    assert len(lines) == 1
    assert re.fullmatch(r"step 1 of 8: loss 0\.\d{4}, lr 1\.00e-03, \d+\.\d images/s, 0:\d\d:\d\d left", lines[0])


def test_the_workers_are_the_cores_shared_among_the_processes_at_most_8(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for cores, expected in ((64, 8), (6, 3), (1, 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert num_workers(None) == expected
