"""The inference and the training form: the plain network's outputs and gradients, on bands of any height."""

import copy

import pytest
import torch
from torch.nn import functional as F

from models import build_model, describe, inference_form, restore, training_form
from models.mixdehazenet import MixStructureBlock, reflect_conv

TEXT = F.normalize(torch.randn(2, 512, generator=torch.Generator().manual_seed(0)), dim=1)
PROB = torch.tensor([[0.9, 0.1], [0.0, 1.0]])


def trained(fusion="calip", merge="concat", window=None):
    """A network whose BatchNorm statistics and weights are those of no fresh one."""
    torch.manual_seed(0)
    network = build_model("n", fusion, merge, TEXT, window)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0, 0.1)
    return network.eval()


def image(*shape, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1


@torch.no_grad()
def relative_error(network, form, hazy, prob):
    expected = network(hazy, prob)
    return ((form(hazy, prob) - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("fusion", "merge"), [("none", "concat"), ("calip", "concat"), ("calip", "add"),
                                               ("parametric", "concat"), ("parametric", "add")])  # fmt: skip
def test_inference_form_equals_training_form_in_evaluation_mode(fusion, merge, dtype, error, monkeypatch):
    network = trained(fusion, merge).to(dtype)
    training = training_form(copy.deepcopy(network))
    hazy = image(2, 3, 61, 47, dtype=dtype)
    for size in (2**21, 2**11):
        monkeypatch.setattr("models.fast.plan.BAND_BYTES", size)
        form = inference_form(network, dtype)
        assert relative_error(network, form, hazy, PROB.to(dtype)) < error
        assert relative_error(training, form, hazy, PROB.to(dtype)) < error


@pytest.mark.parametrize("merge", ["concat", "add"])
@pytest.mark.parametrize("shape", [(61, 47), (133, 60), (30, 20)])
def test_inference_form_equals_the_network_with_windows(shape, merge, monkeypatch):
    monkeypatch.setattr("models.fast.plan.BAND_BYTES", 2**11)
    network = trained(merge=merge, window=40).double()
    error = relative_error(network, inference_form(network, torch.float64), image(2, 3, *shape).double(), PROB.double())
    assert error < 1e-13


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (40, 41), (97, 44)])
def test_inference_form_takes_any_image_size(shape, monkeypatch):
    monkeypatch.setattr("models.fast.plan.BAND_BYTES", 2**11)
    network = trained()
    assert relative_error(network, inference_form(network), image(1, 3, *shape), PROB[:1]) < 1e-5


def test_inference_form_is_the_same_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr("models.fast.plan.BAND_BYTES", 2**11)
    form, hazy, outputs = inference_form(trained()), image(1, 3, 64, 64), []
    before = torch.get_num_threads()
    for num_threads in (1, 3):
        torch.set_num_threads(num_threads)
        with torch.inference_mode():
            outputs.append(form(hazy, PROB[:1]))
        assert torch.get_num_threads() == num_threads
    torch.set_num_threads(before)
    assert torch.allclose(*outputs, rtol=1e-5, atol=1e-6)


def test_inference_form_leaves_the_network_and_its_input_as_they_are():
    network, hazy = trained(), image(1, 3, 48, 48)
    before, hazy_before = copy.deepcopy(network.state_dict()), hazy.clone()
    inference_form(network, torch.bfloat16)(hazy, PROB[:1])
    assert torch.equal(hazy, hazy_before)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_low_precision_is_close_and_indifferent_to_autocast():
    network, hazy = trained(), image(1, 3, 64, 64)
    form = inference_form(network, torch.bfloat16)
    assert relative_error(network, form, hazy, PROB[:1]) < 0.02
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(form(hazy, PROB[:1]), form(hazy, PROB[:1]).float())


def test_inference_form_refuses_what_the_network_refuses():
    with pytest.raises(ValueError, match="prob must be 1 x 2"):
        inference_form(trained())(image(1, 3, 48, 48))


def gradients(network, hazy, prob):
    network.train()
    network(hazy, prob).square().mean().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("recompute", [False, True])
def test_training_form_has_the_plain_outputs_gradients_and_statistics(recompute):
    plain = trained().double()
    form = training_form(copy.deepcopy(plain), recompute)
    hazy, prob = image(2, 3, 48, 44, dtype=torch.float64), PROB.double()
    expected, ours = gradients(plain, hazy, prob), gradients(form, hazy, prob)
    assert expected.keys() == ours.keys()
    for name in expected:
        assert torch.allclose(ours[name], expected[name], rtol=1e-8, atol=1e-12), name
    for name, value in plain.state_dict().items():
        assert torch.allclose(form.state_dict()[name].double(), value.double()), name


def test_training_form_has_the_plain_state_dict_and_copies():
    plain = trained()
    form = training_form(copy.deepcopy(plain))
    hazy = image(1, 3, 48, 48)
    assert plain.state_dict().keys() == form.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(restore(describe(form))(hazy, PROB[:1]), plain(hazy, PROB[:1]))
        assert torch.equal(copy.deepcopy(form)(hazy, PROB[:1]), form(hazy, PROB[:1]))


@pytest.mark.parametrize("dilation", [3, 2, 1])  # that of the middle kernel; 3: the block as it is
@pytest.mark.parametrize("recompute", [False, True])
def test_training_form_has_the_plain_gradients_under_autocast(recompute, dilation):
    plain = trained()
    for block in [module for module in plain.modules() if isinstance(module, MixStructureBlock)]:
        dim = block.depthwise5.in_channels
        block.depthwise5 = reflect_conv(dim, dim, 5, dilation=dilation, groups=dim)
    form = training_form(copy.deepcopy(plain), recompute)
    expected = gradients(plain, image(2, 3, 48, 48), PROB)
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(form, image(2, 3, 48, 48), PROB)
    for name, gradient in expected.items():
        assert (ours[name] - gradient).norm() <= 0.1 * gradient.norm(), name
