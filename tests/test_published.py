"""Published checkpoints become networks of this project with the same outputs."""

import pytest
import torch

from models import is_published, load_published, needs_text
from tests import reference

SYSTEMS = ("mixdehazenet", "mixcldehazenet", "mixcldehazenet_pafusion")
CASES = [(f"{system}_t/1x64x64", torch.float64, 1e-6) for system in SYSTEMS]
CASES += [(f"{system}_s/2x37x50", torch.float32, 1e-4) for system in SYSTEMS]


@pytest.mark.parametrize(("key", "dtype", "tolerance"), CASES)
def test_outputs_are_the_published_ones(key, dtype, tolerance):
    system, shape = key.split("/")
    num, height, width = map(int, shape.split("x"))
    network = load_published(reference.published_state(system), reference.text(num)).to(dtype)
    with torch.no_grad():
        output = network(reference.image(num, height, width).to(dtype), torch.eye(num, dtype=dtype))
    expected = torch.from_numpy(reference.OUTPUTS[key])
    assert (output[:, :, ::5, ::5] - expected).abs().max() <= tolerance


def named(prefix, state):
    return {prefix + name: value for name, value in state.items()}


WRAPPERS = {
    "DataParallel": lambda state, _: {"state_dict": named("module.", state), "epoch": 3},
    "torch.compile": lambda state, _: named("_orig_mod.", state),
    "compiled stages": lambda state, _: {name.replace("layer1.", "layer1._orig_mod."): state[name] for name in state},
    "Lightning": lambda state, other: {
        "state_dict": {**named("net._orig_mod.", state), "loss.vgg.0.weight": torch.zeros(1)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(1)}}}],
    },
    "BasicSR": lambda state, other: {"params": other, "params_ema": state},
    "timm": lambda state, other: {"arch": "", "state_dict": other, "state_dict_ema": named("module.", state)},
    "AveragedModel": lambda state, _: {"model": {**named("module.", state), "n_averaged": torch.ones(1)}},
    "two networks in one dict": lambda state, other: {**named("online_model.", other), **named("ema_model.", state)},
    "nested": lambda state, other: {"checkpoint": {"model": {"module": state, "teacher": other}}},
}


@pytest.mark.parametrize("trainer", WRAPPERS)
def test_wrapped_state_dicts_load_the_averaged_one_first(trainer):
    state = reference.published_state("mixdehazenet_t")
    saved = WRAPPERS[trainer](state, {name: value + 1 for name, value in state.items()})
    assert is_published(saved) and not needs_text(saved)
    ours, theirs = load_published(saved).state_dict(), load_published(state).state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("skip1.weight"), "Missing.*skip1.weight"),
        (lambda state: state.update({"skip9.weight": torch.zeros(1)}), "Unexpected.*skip9.weight"),
        (lambda state: state.update({"skip1.weight": torch.zeros(24, 23, 1, 1)}), "24, 23"),
        (lambda state: state.pop("layer3.blocks.1.conv1.weight"), "stage3.1.pointwise.weight"),
        (lambda state: state.update({"skip1.weight": "text"}), "Missing.*skip1.weight"),
        (lambda state: state.update({f"layer1.blocks.{i}.conv1.bias": torch.zeros(1) for i in (1, 2)}), "not a publi"),
        (lambda state: state.pop("layer1.blocks.0.conv3_19.weight"), "not a published checkpoint"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    state = reference.published_state("mixdehazenet_t")
    change(state)
    with pytest.raises(ValueError, match=named):
        load_published({"params": state})


def test_text_is_asked_for_where_it_is_needed():
    with pytest.raises(ValueError, match="lacks its text embeddings"):
        load_published(reference.published_state("mixcldehazenet_t"))
