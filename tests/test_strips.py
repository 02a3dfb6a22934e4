"""Strips: the whole frame's output, in little memory."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from models import build_model
from models.fast.strips import choose_rows, forward_in_strips, forward_within

TEXT = F.normalize(torch.randn(2, 512, generator=torch.Generator().manual_seed(0)), dim=1)
PROB = torch.tensor([[0.9, 0.1], [0.3, 0.7]])


def make_network(size, fusion="calip", merge="concat", window=None):
    """A network whose BatchNorm layers do something."""
    torch.manual_seed(0)
    network = build_model(size, fusion, merge, TEXT, window).eval()
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 2)
        torch.nn.init.normal_(norm.weight, 1, 0.2)
        torch.nn.init.normal_(norm.bias, 0, 0.2)
    return network


def largest_difference(network, height, width, heights=(1, 7, 64), batch=1):
    hazy, prob = torch.rand(batch, 3, height, width) * 2 - 1, PROB[:batch]
    with torch.inference_mode():
        whole = network(hazy, prob)
    return max((forward_in_strips(network, hazy, prob, rows) - whole).abs().max().item() for rows in heights)


@pytest.mark.parametrize("merge", ["concat", "add"])
@pytest.mark.parametrize("fusion", ["none", "calip", "parametric"])
def test_strips_equal_the_whole_frame_with_every_fusion(fusion, merge):
    assert largest_difference(make_network("n", fusion, merge), 77, 45) < 1e-5


@pytest.mark.parametrize("merge", ["concat", "add"])
def test_strips_equal_the_whole_frame_with_windows(merge):
    assert largest_difference(make_network("n", merge=merge, window=40), 77, 101, batch=2) < 1e-5


@pytest.mark.parametrize("size", ["t", "s", "b", "l"])
def test_strips_equal_the_whole_frame_at_every_size(size):
    assert largest_difference(make_network(size), 67, 41) < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (40, 40), (41, 130), (133, 3), (200, 44)])
def test_strips_equal_the_whole_frame_for_any_shape_and_batch(shape):
    assert largest_difference(make_network("n"), *shape, batch=2) < 1e-5


def test_strips_in_float64_are_exact():
    network, hazy = make_network("n").double(), torch.rand(1, 3, 50, 60, dtype=torch.float64)
    prob = PROB[:1].double()
    with torch.inference_mode():
        assert torch.allclose(forward_in_strips(network, hazy, prob, 7), network(hazy, prob), atol=1e-12)


def test_no_tensor_of_thin_strips_is_larger_than_the_first_stages_map():
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else (out,)) if torch.is_tensor(t))
            return out

    network = make_network("n")
    with Watch():
        forward_in_strips(network, torch.rand(1, 3, 300, 48), PROB[:1], 4)
    assert max(sizes) == 8 * 300 * 48


def test_the_strips_height_follows_the_memory_and_too_little_is_refused():
    network, hazy = make_network("n"), torch.empty(1, 3, 4000, 3000)
    heights = [choose_rows(network, hazy, gigabytes * 1e9) for gigabytes in (1.05, 1.1, 8)]
    assert 1 <= heights[0] < heights[1] < heights[2] < 4000
    assert choose_rows(network, torch.empty(1, 3, 40, 40), 1e9) == 40
    with pytest.raises(ValueError, match="3000 x 4000 pixels need .* GB in even the thinnest strips, and 0.50 GB"):
        forward_within(network, hazy, PROB[:1], 5e8)


def test_a_cuda_frame_that_fits_is_not_cut():
    network = make_network("n")
    hazy = SimpleNamespace(shape=(1, 3, 1000, 1000), device=torch.device("cuda"))
    assert choose_rows(network, hazy, 8e9) is None
    assert choose_rows(network, hazy, 5e8) > 64
