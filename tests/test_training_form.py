"""The training form's network, with torch's own operations for its kernels: the plain network's numbers, as edited."""

import pytest
import torch
from torch import nn

pytest.importorskip("triton", reason="Triton is not installed")

from models import training_form  # noqa: E402
from models.fast import training_network  # noqa: E402
from models.fast.training import as_form, outputs_and_gradients  # noqa: E402
from models.mixdehazenet import MixStructureBlock, reflect_conv  # noqa: E402
from tests.test_forms import PROB, image, trained  # noqa: E402
from tests.test_kernels import depthwise_reference, gated_reference, mlp_reference, pad_reference  # noqa: E402


@pytest.fixture(autouse=True)
def torchs_operations(monkeypatch):
    def depthwise(y, weights, biases):
        return depthwise_reference(y, *weights, *biases)

    for name, function in (
        ("reflect_pad", pad_reference),
        ("depthwise", depthwise),
        ("gated", gated_reference),
        ("gelu_mlp", mlp_reference),
    ):
        monkeypatch.setattr(training_network, name, function)


def unchanged(block, dim):
    pass


def dilated_local(block, dim):
    block.local = reflect_conv(dim, dim, 5, dilation=2)


def nine_wide(block, dim):
    block.local = reflect_conv(dim, dim, 9)
    block.depthwise7 = reflect_conv(dim, dim, 9, groups=dim)


def silu(block, dim):
    block.mlp1[1] = block.mlp2[1] = nn.SiLU()


def large_value(block, dim):
    block.value[1] = reflect_conv(dim, dim, 5, groups=dim)


@pytest.mark.parametrize("edit", [unchanged, dilated_local, nine_wide, silu, large_value])
def test_a_block_is_trained_as_it_is_edited(edit, monkeypatch):
    init = MixStructureBlock.__init__

    def edited_init(block, dim):
        init(block, dim)
        edit(block, dim)

    monkeypatch.setattr(MixStructureBlock, "__init__", edited_init)
    plain = trained().double()
    form = as_form(plain)
    hazy = image(2, 3, 48, 44, dtype=torch.float64)
    assert form.state_dict().keys() == plain.state_dict().keys()
    for found, wanted in zip(*(outputs_and_gradients(n, hazy, PROB.double()) for n in (form, plain)), strict=True):
        assert (found - wanted).double().norm() <= 1e-9 * wanted.double().norm() + 1e-12


def test_gradients_have_the_weights_memory_format():
    """Else autograd copies each of them, which a graph cannot spare."""
    form = as_form(trained())
    gradients = torch.autograd.grad(form.train()(image(2, 3, 48, 44), PROB).sum(), list(form.parameters()))
    for (name, weight), gradient in zip(form.named_parameters(), gradients, strict=True):
        pairs = zip(weight.stride(), gradient.stride(), weight.shape, strict=True)
        assert name.startswith("fusion.") or all(a == b or side == 1 for a, b, side in pairs), name


def test_recomputing_changes_no_gradient():
    ways = []
    for recompute in (False, True):
        network = training_form(trained().double(), recompute=recompute)
        ways.append(outputs_and_gradients(network, image(2, 3, 48, 44, dtype=torch.float64), PROB.double()))
    assert all(torch.equal(*pair) for pair in zip(*ways, strict=True))
