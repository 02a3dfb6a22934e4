"""A network that is edited in models/mixdehazenet.py alone is computed as edited: by the form, or in its place."""

import pytest
import torch
from torch import nn

from models import inference_form, kernels_report
from models.fast.inference import InferenceForm, PlainInference
from models.fast.proof import choices, choose
from models.mixdehazenet import SIZES, MixDehazeNet, MixStructureBlock, reflect_conv
from tests.test_forms import PROB, image, relative_error, trained


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
        (silu, PlainInference),
        (grouped, InferenceForm),
        (large_value, PlainInference),
    ],
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
    network = trained()
    form = inference_form(network)
    assert type(form) is PlainInference
    assert relative_error(network, form, image(1, 3, 48, 44), PROB[:1]) < 1e-5


# ---- the proof itself ----


class Wrong(nn.Module):
    """A network whose outputs are the plain one's, but for a factor from a call on."""

    def __init__(self, network, first=1, factor=1.0):
        super().__init__()
        self.network, self.first, self.factor, self.calls = network, first, factor, 0

    def forward(self, hazy, prob):
        self.calls += 1
        return self.network(hazy, prob) * (self.factor if self.calls >= self.first else 1)


def chosen(network, **ways):
    """The choice of a way to compute a network; ways: functions of it, in place of the better ones."""

    def plain(network, hazy, prob, dtype):
        return network

    ways = {name: lambda network, *_, way=way: way(network) for name, way in ways.items()}
    return choose("training", network, torch.float32, {**ways, "plain": plain}, lambda module, *batch: [module(*batch)])


def broken(network):
    raise RuntimeError("no kernel\nhere")


def test_the_first_way_that_computes_as_the_plain_network_is_chosen(caplog):
    assert chosen(trained(), graph=Wrong, form=broken) == "graph"
    assert kernels_report("training") == {"path": "graph", "reason": None} and not caplog.messages


def test_a_way_that_fails_gives_way_to_the_next_after_one_line(caplog):
    for _ in range(2):
        assert chosen(trained(), graph=broken, form=Wrong) == "form"
    reason = "RuntimeError: no kernel here"
    assert caplog.messages == [f"note: training runs without CUDA graphs, which is slower: {reason}"]
    assert kernels_report("training") == {"path": "form", "reason": reason}


def test_where_all_ways_fail_the_plain_network_is_chosen_after_one_line(caplog):
    assert chosen(trained(), graph=broken, form=broken) == "plain"
    assert len(caplog.messages) == 1 and "by the plain network" in caplog.messages[0]


@pytest.mark.parametrize(("first", "factor"), [(1, 1.01), (2, 1.01), (1, float("nan")), (1, 0.0)])
def test_other_numbers_leave_the_plain_network(first, factor, caplog):
    assert chosen(trained(), graph=lambda network: Wrong(network, first, factor), form=Wrong) == "plain"
    assert caplog.messages == [
        "note: training runs by the plain network, which is slower: the form's numbers are not the plain network's"
    ]


@pytest.mark.parametrize("channels", [(8, 16, 32, 24, 16), (16, 16, 32, 8, 8)])
def test_stages_of_any_width_come_in_bands(channels, monkeypatch):
    monkeypatch.setitem(SIZES, "n", (channels, (1, 1, 1, 1, 1)))
    network = trained()
    form = inference_form(network)
    assert type(form) is InferenceForm
    assert relative_error(network, form, image(1, 3, 84, 60), PROB[:1]) < 1e-5


def test_a_proof_leaves_the_random_numbers_as_they_are():
    network, before = trained(), torch.get_rng_state()
    chosen(network)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_plain_network_in_the_forms_place_takes_the_precision(monkeypatch):
    network, hazy = edited(silu, monkeypatch), image(1, 3, 48, 44)
    assert relative_error(network, inference_form(network, torch.bfloat16), hazy, PROB[:1]) < 0.02
