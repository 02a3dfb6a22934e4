"""The inference and the training form: the plain network's outputs and gradients, in bands of any height."""

import copy

import pytest
import torch

from models import describe, inference_form, restore, training_form
from models.fast import kernels
from models.fast.bands import Bands
from models.fast.inference import GraphedInference
from models.fast.inference_network import InferenceForm
from tests.made import make_network

PROB = torch.tensor([[0.9, 0.1], [0.0, 1.0]])


def image(*shape, dtype=torch.float32, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


@torch.no_grad()
def relative_error(network, form, hazy, prob):
    expected = network(hazy, prob)
    return ((form(hazy, prob) - expected).abs().max() / expected.abs().max()).item()


def bands(max_rows, num_workers=1):
    """Calls of a form in bands so high."""
    return lambda form: lambda hazy, prob: form(hazy, prob, bands=Bands(max_rows, num_workers))


@pytest.mark.parametrize(("fusion", "merge", "window"), [
    ("none", "concat", None), ("calip", "concat", None), ("calip", "add", 40), ("calip", "concat", 40),
    ("parametric", "concat", None), ("parametric", "add", None),
])  # fmt: skip
def test_inference_form_equals_the_network_with_every_fusion_in_any_bands(fusion, merge, window):
    network = make_network("n", fusion, merge, window).double()
    form, hazy = inference_form(network, torch.float64), image(2, 3, 61, 47, dtype=torch.float64)
    for ways in (bands(500), bands(7, 2)):
        assert relative_error(network, ways(form), hazy, PROB.double()) < 1e-13


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (40, 41), (133, 60)])
def test_inference_form_takes_any_image_size(shape):
    network = make_network(window=40)
    form = inference_form(network)
    for ways in (bands(500), bands(5, 2)):
        assert relative_error(network, ways(form), image(1, 3, *shape), PROB[:1]) < 1e-5


def test_inference_form_is_the_same_on_any_number_of_threads():
    form, hazy, outputs = inference_form(make_network()), image(1, 3, 64, 64), []
    before = torch.get_num_threads()
    for num_threads in (1, 3):
        torch.set_num_threads(num_threads)
        with torch.inference_mode():
            outputs.append(form(hazy, PROB[:1]))
        assert torch.get_num_threads() == num_threads
    torch.set_num_threads(before)
    assert torch.allclose(*outputs, rtol=1e-5, atol=1e-6)


def test_inference_form_leaves_the_network_and_its_input_as_they_are():
    network, hazy = make_network(), image(1, 3, 48, 48)
    before, hazy_before = copy.deepcopy(network.state_dict()), hazy.clone()
    inference_form(network, torch.bfloat16)(hazy, PROB[:1])
    assert torch.equal(hazy, hazy_before)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_low_precision_is_close_and_indifferent_to_autocast_and_bands():
    network, hazy = make_network(), image(1, 3, 64, 64)
    form = inference_form(network, torch.bfloat16)
    assert relative_error(network, form, hazy, PROB[:1]) < 0.02
    assert relative_error(form, bands(4, 2)(form), hazy, PROB[:1]) < 5e-3
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(form(hazy, PROB[:1]), form(hazy, PROB[:1]).float())


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_form_for_a_gpu_equals_the_network(dtype):
    """On a GPU, or under TRITON_INTERPRET=1 on a CPU; with graphs: a size's second image records, the third replays."""
    pytest.importorskip("triton", reason="Triton is not installed")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not kernels.INTERPRETED:
        pytest.skip("needs a GPU or Triton's interpreter")
    network = make_network(window=40).to(device)
    form = InferenceForm(network, dtype)
    ways = [bands(16)(form), GraphedInference(form)] if device.type == "cuda" else [form]
    for way in ways:
        for seed in range(3 if device.type == "cuda" else 1):
            hazy = image(1, 3, 44, 41, seed=seed).to(device)
            assert relative_error(network, way, hazy, PROB[:1].to(device)) < (1e-5 if dtype == torch.float32 else 0.03)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_training_form_has_the_plain_networks_gradients_state_and_copies(recompute, precision):
    plain = make_network()
    form = training_form(copy.deepcopy(plain), precision, recompute)
    found = []
    for network in (plain, form):
        with torch.autocast("cpu", precision, enabled=network is form and precision != torch.float32):
            network.train()(image(2, 3, 48, 44), PROB).square().mean().backward()
        found.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert found[0].keys() == found[1].keys() and plain.state_dict().keys() == form.state_dict().keys()
    for name, gradient in found[0].items():
        tolerance = 0.1 if precision == torch.bfloat16 else 1e-4
        assert (found[1][name] - gradient).norm() <= tolerance * gradient.norm(), name
    hazy = image(1, 3, 48, 48)
    with torch.no_grad():
        outputs = [network.eval()(hazy, PROB[:1]) for network in (form, restore(describe(form)), copy.deepcopy(form))]
    assert torch.allclose(outputs[0], outputs[1], atol=1e-6) and torch.equal(outputs[0], outputs[2])
