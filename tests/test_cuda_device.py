"""What only a GPU can show beside the kernels (test_kernels.py); `benchmarks/gpu.sh` runs these there."""

import copy
import json

import pytest
import torch

from models import inference_form, kernels_report, training_form, training_graph
from models.fast import proof
from tests import tiny
from tests.made import make_network
from tests.test_forms import PROB

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
GPU = torch.device("cuda", 0)
TYPES = torch.float32, torch.bfloat16, torch.float16


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    proof.choices.clear()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("fusion", ["none", "calip", "parametric"])
def test_both_forms_pass_their_proof_through_graphs(fusion, dtype):
    network = make_network(fusion=fusion).to(GPU)
    training_form(network, dtype)
    inference_form(network, dtype)
    assert list(proof.choices.values()) == [("graph", None)] * 2


def gradients(stepped, network, parts):
    """Gradients of the network that several parts of a batch add up to."""
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    for hazy, prob in parts:
        stepped.train()(hazy, prob).float().square().mean().backward()
    return [weight.grad for weight in network.parameters()]


def test_gradients_of_a_graph_add_up():
    plain, prob = make_network().to(GPU), PROB.to(GPU)
    parts = [(torch.rand(2, 3, 60, 76, device=GPU) * 2 - 1, prob) for _ in range(3)]
    form = training_form(copy.deepcopy(plain))
    graphed = training_graph(form, torch.zeros_like(parts[0][0]), torch.zeros_like(prob))
    assert kernels_report("training") == {"path": "graph", "reason": None}
    ways = (gradients(plain, plain, parts), gradients(graphed, form, parts))
    for wanted, found in zip(*ways, strict=True):
        assert (found - wanted).norm() <= 1e-3 * wanted.norm() + 1e-6


def test_an_image_of_a_known_size_is_replayed_with_its_own_output():
    network = make_network().to(GPU).requires_grad_(False)
    form = inference_form(network)
    for mode in (torch.no_grad, torch.inference_mode):
        for height, width in ((64, 48), (50, 70), (64, 48), (64, 48), (50, 70)):
            with mode():
                hazy = torch.rand(1, 3, height, width, device=GPU) * 2 - 1
                assert (form(hazy, PROB[:1].to(GPU)) - network(hazy, PROB[:1].to(GPU))).abs().max() < 1e-4


def test_a_map_beyond_32_bits_is_convolved_like_its_last_rows():
    from models.fast.kernels.depthwise import depthwise

    if torch.cuda.get_device_properties(GPU).total_memory < 30e9:
        pytest.skip("needs 30 GB")
    y = torch.randn(1, 24, 6144, 5120, device=GPU, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    weights = [torch.randn(24, 1, side, side, device=GPU) for side in (7, 5, 3)]
    biases = [torch.randn(24, device=GPU) for _ in weights]
    whole = depthwise(y, weights, biases)  # 2.3e9 numbers
    part = depthwise(y[:, :, -60:], weights, biases)
    assert torch.equal(whole[:, :, -50:], part[:, :, -50:])


def test_the_scores_of_40_pairs_are_the_cpus(tmp_path):
    tiny.make(tmp_path, num=40)
    assert tiny.run(tmp_path, "device=cpu", "train.steps=4")[0] == 0
    found = []
    for device in ("cpu", "cuda"):
        code, _, errors = tiny.run(tmp_path, f"device={device}", "data.test=train", "run=tiny", script="test.py")
        assert code == 0, errors
        found.append(json.loads((tmp_path / "results/tiny-train/metrics.json").read_text())["psnr"])
    assert found[1] == pytest.approx(found[0], abs=0.01)
