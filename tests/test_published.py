"""Published checkpoints become networks of this project with the same outputs."""

import pytest
import torch

from models import build_model, load_published, published_state
from tests import reference

PARAMETERS = {"t": 1_622_950, "s": 3_164_944, "b": 6_248_932, "l": 12_416_908}


@pytest.mark.parametrize("key", sorted(reference.OUTPUTS))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_outputs_are_the_published_ones(key, dtype, tolerance):
    system, shape = key.split("/")
    num, height, width = map(int, shape.split("x"))
    network = load_published(reference.published_state(system), reference.text(num)).to(dtype)
    with torch.no_grad():
        output = network(reference.image(num, height, width).to(dtype), torch.eye(num, dtype=dtype))
    expected = torch.from_numpy(reference.OUTPUTS[key])
    assert (output[:, :, ::5, ::5] - expected).abs().max() <= tolerance


@pytest.mark.parametrize("system", ["mixdehazenet_t", "mixcldehazenet_pafusion_t"])
def test_networks_go_back_under_the_published_names_and_shapes(system):
    network = load_published(reference.published_state(system), reference.text(2))
    state = published_state(network)
    assert {name: list(value.shape) for name, value in state.items()} == dict(reference.LAYOUT[system])
    again, inputs = load_published(state, reference.text(2)), (reference.image(2, 44, 48).float(), torch.eye(2))
    with torch.no_grad():
        assert (again(*inputs) - network(*inputs)).abs().max() <= 1e-5


@pytest.mark.parametrize("names", [("n", "none"), ("t", "calip"), ("t", "parametric", "add")])
def test_networks_that_were_never_published_get_no_published_names(names):
    with pytest.raises(ValueError, match=f"size {names[0]} with fusion {names[1]} .* has no published form"):
        published_state(build_model(*names, text=torch.eye(2)))


def test_wrapped_state_dicts_load():
    plain = reference.published_state("mixdehazenet_t")
    wrapped = {"state_dict": {f"module.{name}": value for name, value in plain.items()}, "epoch": 3}
    image = torch.rand(1, 3, 40, 40)
    assert torch.equal(load_published(plain)(image), load_published(wrapped)(image))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("skip1.weight"), "skip1.weight"),
        (lambda state: state.update({"skip9.weight": torch.zeros(1)}), "skip9.weight"),
        (lambda state: state.update({"skip1.weight": torch.zeros(24, 23, 1, 1)}), "24 x 23"),
        (lambda state: state.pop("layer3.blocks.1.conv1.weight"), "stage3.1.pointwise.weight"),
        (lambda state: state.update({"skip1.weight": "text"}), "state dict of tensors"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    state = reference.published_state("mixdehazenet_t")
    change(state)
    with pytest.raises(ValueError, match=named):
        load_published(state)


def test_text_is_asked_for_where_it_is_needed():
    with pytest.raises(ValueError, match="no text embeddings"):
        load_published(reference.published_state("mixcldehazenet_t"))
