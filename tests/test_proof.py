"""A network that is edited in models/mixdehazenet.py alone is computed as edited: by the form, or in its place."""

import pytest
import torch
from torch import nn

from models.fast.inference import InferenceForm
from models.fast.proof import PlainForm, inference_form, problems, training_form
from models.fast.training import Network
from models.mixdehazenet import SIZES, MixDehazeNet, MixStructureBlock, reflect_conv
from tests.test_forms import PROB, image, relative_error, trained


@pytest.fixture(autouse=True)
def in_bands(monkeypatch):
    monkeypatch.setattr("models.fast.plan.BAND_BYTES", 2**11)
    monkeypatch.setattr("models.fast.plan.BAND_ROWS", 4)
    problems.clear()
    yield
    problems.clear()


def edited(edit, monkeypatch):
    """A network of blocks whose code `edit` has changed."""
    init = MixStructureBlock.__init__

    def edited_init(block, dim):
        init(block, dim)
        edit(block, dim)

    monkeypatch.setattr(MixStructureBlock, "__init__", edited_init)
    return trained()


def dilated_local(block, dim):
    block.local = reflect_conv(dim, dim, 5, dilation=2)


def large_local_and_small_depthwise(block, dim):
    block.local = reflect_conv(dim, dim, 9)
    for kernel in (7, 5, 3):
        setattr(block, f"depthwise{kernel}", reflect_conv(dim, dim, 3, groups=dim))


def silu(block, dim):
    block.mlp1[1] = block.mlp2[1] = nn.SiLU()


def grouped(block, dim):
    block.depthwise7 = reflect_conv(dim, dim, 7, dilation=3, groups=dim // 2)


def large_value(block, dim):
    block.value[1] = reflect_conv(dim, dim, 5, groups=dim)


@pytest.mark.parametrize(
    ("edit", "form"),
    [
        (dilated_local, InferenceForm),
        (large_local_and_small_depthwise, InferenceForm),
        (silu, PlainForm),
        (grouped, PlainForm),
        (large_value, PlainForm),
    ],
)
def test_an_edited_block_is_computed_as_edited(edit, form, caplog, monkeypatch):
    network = edited(edit, monkeypatch)
    made = [inference_form(network) for _ in range(2)][0]
    assert type(made) is form
    assert relative_error(network, made, image(1, 3, 84, 60), PROB[:1]) < 1e-5
    assert len(caplog.messages) == (form is PlainForm)  # once
    assert all("the plain network computes" in message for message in caplog.messages)


def test_an_edited_entrance_is_computed_as_edited(monkeypatch):
    def embed(network, image, prob):
        return network.patch_embed(torch.cat([image, 2 * network.fusion(image, network.text, prob)], dim=1))

    monkeypatch.setattr(MixDehazeNet, "embed", embed)
    network = trained()
    form = inference_form(network)
    assert type(form) is PlainForm
    assert relative_error(network, form, image(1, 3, 48, 44), PROB[:1]) < 1e-5


def relu_between(block, y):
    return block.local(block.pointwise(y).relu())


def without_gradient(block, value, y, gate, channel, pixel):
    return torch.cat([value * gate, channel.detach() * y, pixel * y], dim=1)


@pytest.mark.parametrize(("method", "edit"), [("dense", relu_between), ("gated", without_gradient)])
def test_an_edited_method_is_trained_as_edited(method, edit, monkeypatch, caplog):
    monkeypatch.setattr(MixStructureBlock, method, edit)
    network = training_form(trained())
    assert type(network) is MixDehazeNet
    assert caplog.messages == [
        "note: models/fast/training.py does not follow the network: their outputs differ: the plain network computes, "
        "slower"
    ]


@pytest.mark.parametrize("edit", [dilated_local, large_local_and_small_depthwise, silu, grouped, large_value])
def test_an_edited_layer_is_trained_in_form(edit, monkeypatch):
    assert type(training_form(edited(edit, monkeypatch))) is Network


@pytest.mark.parametrize("channels", [(8, 16, 32, 24, 16), (16, 16, 32, 8, 8)])
def test_stages_of_any_width_come_in_bands(channels, monkeypatch):
    monkeypatch.setitem(SIZES, "n", (channels, (1, 1, 1, 1, 1)))
    network = trained()
    form = inference_form(network)
    assert type(form) is InferenceForm
    assert relative_error(network, form, image(1, 3, 84, 60), PROB[:1]) < 1e-5


def test_a_proof_leaves_the_random_numbers_as_they_are():
    network, before = trained(), torch.get_rng_state()
    training_form(network)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_plain_network_in_the_forms_place_takes_precision_and_memory(monkeypatch):
    network, hazy = edited(silu, monkeypatch), image(1, 3, 48, 44)
    assert relative_error(network, inference_form(network, torch.bfloat16), hazy, PROB[:1]) < 0.02
    with pytest.raises(ValueError, match="44 x 48 pixels need 0.00 GB, and 0.00 GB are free"):
        inference_form(network)(hazy, PROB[:1], 1e5)
