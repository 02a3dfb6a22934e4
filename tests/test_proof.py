"""A network that is edited in models/mixdehazenet.py alone is computed as edited: by the form, or in its place."""

import pytest
import torch
from torch import nn

from models import inference_form, kernels_report
from models.fast.inference import InferenceForm, PlainInference
from models.fast.proof import choices, choose
from models.mixdehazenet import SIZES, MixDehazeNet, MixStructureBlock, reflect_conv
from tests.made import make_network
from tests.test_forms import PROB, image, relative_error


@pytest.fixture(autouse=True)
def in_bands(monkeypatch):
    monkeypatch.setattr("models.fast.bands.BAND_BYTES", 2**11)
    monkeypatch.setattr("models.fast.bands.BAND_ROWS", 4)
    choices.clear()
    yield
    choices.clear()


def edited(edit, monkeypatch):
    """A network of blocks whose code `edit` has changed."""
    init = MixStructureBlock.__init__

    def edited_init(block, dim):
        init(block, dim)
        edit(block, dim)

    monkeypatch.setattr(MixStructureBlock, "__init__", edited_init)
    return make_network()


def dilated_local(block, dim):
    block.local = reflect_conv(dim, dim, 5, dilation=2)


def nine_wide(block, dim):
    block.local = reflect_conv(dim, dim, 9)
    block.depthwise7 = reflect_conv(dim, dim, 9, groups=dim)


def silu(block, dim):
    block.mlp1[1] = block.mlp2[1] = nn.SiLU()


def large_value(block, dim):
    block.value[1] = reflect_conv(dim, dim, 5, groups=dim)


@pytest.mark.parametrize(
    ("edit", "form"),
    [(dilated_local, InferenceForm), (nine_wide, InferenceForm), (silu, PlainInference), (large_value, PlainInference)],
)
def test_an_edited_block_is_computed_as_edited(edit, form, caplog, monkeypatch):
    network = edited(edit, monkeypatch)
    made = [inference_form(network) for _ in range(2)][0]
    assert type(made) is form
    assert relative_error(network, made, image(1, 3, 84, 60), PROB[:1]) < 1e-5
    assert len(caplog.messages) == (form is PlainInference)  # once
    assert all("by the plain network" in message for message in caplog.messages)


def test_an_edited_entrance_is_computed_as_edited(monkeypatch):
    def embed(network, image, prob):
        return network.patch_embed(torch.cat([image, 2 * network.fusion(image, network.text, prob)], dim=1))

    monkeypatch.setattr(MixDehazeNet, "embed", embed)
    network = make_network()
    form = inference_form(network)
    assert type(form) is PlainInference
    assert relative_error(network, form, image(1, 3, 48, 44), PROB[:1]) < 1e-5


# ---- the proof itself ----


def proof(network, factor=1.0, error=None, graphs=False):
    """The proof of a form whose second output is the plain one's by a factor, or which raises an error."""

    def by_plain(network, hazy, prob, dtype):
        return [network(hazy, prob), network(hazy.flip(3), prob)]

    def by_form(*inputs):
        if error:
            raise error
        first, second = by_plain(*inputs)
        return [first, factor * second]

    def by_graph(*inputs):
        raise RuntimeError("no graph here")

    graph = {"graph": by_graph} if graphs else {}
    return choose("training", network, torch.float32, **graph, form=by_form, plain=by_plain)


def test_a_form_that_computes_as_the_plain_network_serves(caplog):
    assert proof(make_network()) == "form" and not caplog.messages
    assert kernels_report("training") == {"path": "form", "reason": None}


@pytest.mark.parametrize(
    ("factor", "error", "reason"),
    [
        (1.01, None, "the form's numbers are not the plain network's"),
        (float("nan"), None, "the form's numbers are not the plain network's"),
        (1.0, RuntimeError("no kernel\nhere"), "RuntimeError: no kernel here"),
    ],
)
def test_other_numbers_and_errors_leave_the_plain_network_after_one_line(factor, error, reason, caplog):
    assert {proof(make_network(), factor, error) for _ in range(2)} == {"plain"}
    assert caplog.messages == [f"note: training runs by the plain network, which is slower: {reason}"]
    assert kernels_report("training") == {"path": "plain", "reason": reason}


def test_without_a_graph_the_form_serves_after_one_line(caplog):
    assert proof(make_network(), graphs=True) == "form"
    assert caplog.messages == ["note: training runs without CUDA graphs, which is slower: RuntimeError: no graph here"]


def test_a_proof_leaves_the_random_numbers_as_they_are():
    network, before = make_network(), torch.get_rng_state()
    proof(network)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("channels", [(8, 16, 32, 24, 16), (16, 16, 32, 8, 8)])
def test_stages_of_any_width_come_in_bands(channels, monkeypatch):
    monkeypatch.setitem(SIZES, "n", (channels, (1, 1, 1, 1, 1)))
    network = make_network()
    form = inference_form(network)
    assert type(form) is InferenceForm
    assert relative_error(network, form, image(1, 3, 84, 60), PROB[:1]) < 1e-5
