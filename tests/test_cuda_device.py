"""What only a GPU can show; skipped without one. `benchmarks/gpu.sh` runs these."""

import copy
import csv
import subprocess

import pytest
import torch

from models import inference_form, training_form
from models.fast import attending, depthwise, gating, gelu, padding, pointwise, trial
from tests import tiny
from tests.test_forms import PROB, trained

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
GPU = torch.device("cuda", 0)
OPERATIONS = {
    "pad": padding.FUSED_PAD,
    "fold": padding.FUSED_FOLD,
    "forward": depthwise.FUSED_FORWARD,
    "backward": depthwise.FUSED_BACKWARD,
    "gated": gating.FUSED_FORWARD,
    "gelu": gelu.FUSED_BACKWARD,
    "attended": attending.ATTENDED,
    "product": pointwise.POINTWISE,
    "product with GELU": pointwise.POINTWISE_GELU,
    "product added": pointwise.ADD_POINTWISE,
}


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("sides", [(10, 10), (23, 131), (115, 155), (256, 256)])
@pytest.mark.parametrize("channels", [8, 24, 96])
@pytest.mark.parametrize("dtype", trial.TOLERANCE, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kernel_equals_plain_operations(name, dtype, channels, sides):
    operation = OPERATIONS[name]
    if name == "product with GELU" and dtype != torch.bfloat16:
        pytest.skip("used in bfloat16 alone")

    def random(*shape, weight=False):
        if shape[3:] == (131,):  # of a trial's map, 125 rows or one more
            more = 4 if name == "fold" else 0
            shape = (*shape[:2], sides[0] + shape[2] - 125 + more, sides[1] + more)
        x = torch.randn(shape, device=GPU).to(torch.float32 if weight else dtype)
        return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x

    arguments = operation.example(random, channels)
    ways = operation.plain, operation.fused
    results = [trial.flat(way(*copy.deepcopy(arguments))) for way in ways]  # some change an argument in place
    assert all(trial.agree(*pair, trial.TOLERANCE[dtype]) for pair in zip(*results, strict=True))


def test_no_kernel_was_refused():
    for operation in OPERATIONS.values():
        operation.passes(GPU, torch.bfloat16, torch.float32, 24)
    assert GPU not in trial.refused, trial.refused


def outputs_and_gradients(network, hazy, prob):
    output = network.train()(hazy, prob)
    output.square().mean().backward()
    return [output.detach(), *(parameter.grad for parameter in network.parameters())]


def test_the_training_form_equals_the_plain_network_with_its_gradients():
    plain = trained().to(GPU)
    hazy, prob = torch.rand(2, 3, 60, 76, device=GPU) * 2 - 1, PROB.to(GPU)
    ways = [outputs_and_gradients(network, hazy, prob) for network in (plain, training_form(copy.deepcopy(plain)))]
    for wanted, found in zip(*ways, strict=True):
        assert (found - wanted).norm() <= 1e-3 * wanted.norm() + 1e-6


def test_bands_of_rows_equal_the_frame():
    network = trained().to(GPU).requires_grad_(False)
    hazy, prob = torch.rand(1, 3, 160, 120, device=GPU) * 2 - 1, PROB[:1].to(GPU)
    whole = network(hazy, prob)
    form = inference_form(network)
    for memory in (None, 3e6):  # the frame, bands of 11 rows
        assert (form(hazy, prob, memory) - whole).abs().max() < 1e-4


def test_graphs_give_the_outputs_of_the_form_for_each_size_and_image():
    network = trained().to(GPU).requires_grad_(False)
    form, graphed = inference_form(network), inference_form(network, graphs=True)
    for mode in (torch.no_grad, torch.inference_mode):
        for height, width in ((64, 48), (50, 70), (64, 48)):
            with mode():
                hazy, prob = torch.rand(1, 3, height, width, device=GPU) * 2 - 1, PROB[:1].to(GPU)
                assert torch.equal(graphed(hazy, prob), form(hazy, prob))


def test_a_map_beyond_32_bits_is_convolved_like_its_last_rows():
    if torch.cuda.get_device_properties(GPU).total_memory < 30e9:
        pytest.skip("needs 30 GB")
    y = torch.randn(1, 24, 6144, 5120, device=GPU, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    _, weights, biases = depthwise.FUSED_FORWARD.example(lambda *s, weight=False: torch.randn(s, device=GPU), 24)
    whole = depthwise.FUSED_FORWARD.fused(y, weights, biases)  # 2.3e9 numbers
    part = depthwise.FUSED_FORWARD.fused(y[:, :, -60:].contiguous(memory_format=torch.channels_last), weights, biases)
    assert torch.equal(whole[:, :, -50:], part[:, :, -50:])


def test_a_run_resumes_on_the_device(tmp_path):
    tiny.make(tmp_path)
    assert tiny.run(tmp_path, "device=cuda", "train.steps=4")[0] == 0
    code, output, errors = tiny.run(tmp_path, "device=cuda", "train.steps=4")
    assert code == 0 and "step 4 of 4" in output, errors


def scores(folder):
    with open(folder / "results/tiny-test/results.csv") as file:
        return [float(row["psnr"]) for row in csv.DictReader(file)]


def test_the_scores_of_40_pairs_are_the_cpus(tmp_path):
    tiny.make(tmp_path, num=40)
    assert tiny.run(tmp_path, "device=cpu", "train.steps=4")[0] == 0
    found = {}
    for device in ("cpu", "cuda"):
        code, _, errors = tiny.run(tmp_path, f"device={device}", "data.test=train", "run=tiny", script="test.py")
        assert code == 0, errors
        (tmp_path / "results/tiny-train").rename(tmp_path / "results/tiny-test")
        found[device] = scores(tmp_path)
        (tmp_path / "results/tiny-test").rename(tmp_path / f"results/{device}")
    assert len(found["cpu"]) == 40 and found["cuda"] == pytest.approx(found["cpu"], abs=0.01)


def test_two_processes_train_on_one_device(tmp_path):
    tiny.make(tmp_path)
    runs = [
        subprocess.Popen(tiny.command("device=cuda", "data.val=test", f"run={name}"), cwd=tmp_path) for name in "ab"
    ]
    assert [run.wait(timeout=300) for run in runs] == [0, 0]
