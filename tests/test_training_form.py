"""The training form's network, with torch's own operations for its kernels: the plain network's numbers, as edited."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from models import training_form  # noqa: E402
from models.fast import training_network  # noqa: E402
from models.fast.training import as_form, outputs_and_gradients  # noqa: E402
from tests.made import make_network  # noqa: E402
from tests.test_forms import PROB, image  # noqa: E402
from tests.test_kernels import depthwise_reference, gated_reference, pad_reference  # noqa: E402
from tests.test_proof import dilated_local, edited, large_value, nine_wide  # noqa: E402


@pytest.fixture(autouse=True)
def torchs_operations(monkeypatch):
    def depthwise(y, weights, biases):
        return depthwise_reference(y, *weights, *biases)

    monkeypatch.setattr(training_network, "depthwise", depthwise)
    monkeypatch.setattr(training_network, "reflect_pad", pad_reference)
    monkeypatch.setattr(training_network, "gated", gated_reference)


def unchanged(block, dim):
    pass


@pytest.mark.parametrize("edit", [unchanged, dilated_local, nine_wide, large_value])
def test_a_block_is_trained_as_it_is_edited(edit, monkeypatch):
    plain = edited(edit, monkeypatch).double()
    form = as_form(plain)
    hazy = image(2, 3, 48, 44, dtype=torch.float64)
    assert form.state_dict().keys() == plain.state_dict().keys()
    for found, wanted in zip(*(outputs_and_gradients(n, hazy, PROB.double()) for n in (form, plain)), strict=True):
        assert (found - wanted).double().norm() <= 1e-9 * wanted.double().norm() + 1e-12


def test_gradients_have_the_weights_memory_format():
    """Else autograd copies each of them, which a graph cannot spare."""
    form = as_form(make_network())
    gradients = torch.autograd.grad(form.train()(image(2, 3, 48, 44), PROB).sum(), list(form.parameters()))
    for (name, weight), gradient in zip(form.named_parameters(), gradients, strict=True):
        pairs = zip(weight.stride(), gradient.stride(), weight.shape, strict=True)
        assert name.startswith("fusion.") or all(a == b or side == 1 for a, b, side in pairs), name


def test_recomputing_changes_no_gradient():
    ways = []
    for recompute in (False, True):
        network = training_form(make_network().double(), recompute=recompute)
        ways.append(outputs_and_gradients(network, image(2, 3, 48, 44, dtype=torch.float64), PROB.double()))
    assert all(torch.equal(*pair) for pair in zip(*ways, strict=True))
