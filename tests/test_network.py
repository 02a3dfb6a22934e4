"""The network: sizes, shapes, warm starts."""

import pytest
import torch

from models import build_model, describe, restore, start_from
from utils.cost import multiply_adds

TEXT = torch.nn.functional.normalize(torch.randn(2, 512, generator=torch.Generator().manual_seed(0)), dim=1)
PROB = torch.tensor([[0.9, 0.1]])


@pytest.mark.parametrize(
    ("size", "parameters", "macs"),
    [("t", 1_622_950, 14.56), ("s", 3_164_944, 28.46), ("b", 6_248_932, 56.26), ("l", 12_416_908, 111.85)],
)
def test_cost_is_the_published_one(size, parameters, macs):
    network = build_model(size, "none").eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert multiply_adds(network, 256, 2) / 1e9 == pytest.approx(macs, abs=0.01)


@pytest.mark.parametrize("fusion", ["none", "calip", "parametric"])
@pytest.mark.parametrize("merge", ["concat", "add"])
@pytest.mark.parametrize("shape", [(1, 50), (41, 64)])
def test_any_image_size_is_kept(fusion, merge, shape):
    network = build_model("n", fusion, merge, TEXT).eval()
    with torch.no_grad():
        output = network(torch.rand(2, 3, *shape) * 2 - 1, PROB.expand(2, 2))
    assert output.shape == (2, 3, *shape)
    assert output.isfinite().all()


@pytest.mark.parametrize("fusion", ["calip", "parametric"])
@pytest.mark.parametrize("merge", ["concat", "add"])
def test_a_widened_network_starts_at_the_plain_ones_outputs(fusion, merge):
    plain, network = build_model("n", "none").eval(), build_model("n", fusion, merge, TEXT).eval()
    start_from(network, plain)
    image = torch.rand(1, 3, 48, 48) * 2 - 1
    assert torch.allclose(plain(image), network(image, PROB), atol=1e-6)


def test_weights_of_another_network_are_refused_by_name():
    with pytest.raises(ValueError, match="size n, not t"):
        start_from(build_model("t", "none"), build_model("n", "none"))
    with pytest.raises(ValueError, match="fusion.image_embed"):
        start_from(build_model("n", "parametric", "concat", TEXT), build_model("n", "calip", "concat", TEXT))


def test_missing_or_misshapen_probabilities_are_refused():
    network = build_model("n", "calip", "concat", TEXT)
    for prob in (None, torch.ones(1, 3), torch.ones(2, 2)):
        with pytest.raises(ValueError, match="prob must be 1 x 2"):
            network(torch.rand(1, 3, 48, 48), prob)
    with pytest.raises(ValueError, match="needs text embeddings"):
        build_model("n", "calip")


def test_checkpoints_with_the_joins_former_names_load():
    network = build_model("n", "none")
    state = {name.replace("join", "fusion"): value + 1 for name, value in network.state_dict().items()}
    assert "fusion1.mlp.0.weight" in state
    restored = restore(describe(network), state).state_dict()
    assert all(torch.equal(restored[name], value + 1) for name, value in network.state_dict().items())
