"""The executor: bands of rows, in place, by any number of cores, give what the whole frame gives."""

from types import SimpleNamespace

import pytest
import torch

from models.fast.inference import inference_form
from models.fast.rows import Rows, Window
from tests.test_forms import PROB, image, relative_error, trained


def in_bands(network, most, num_workers, dtype=torch.float32):
    form = inference_form(network, dtype)
    form.rows = lambda image, memory: Rows(most, num_workers)
    return form


@pytest.mark.parametrize(("most", "num_workers"), [(1, 1), (1, 3), (7, 2), (7, 40), (64, 2), (500, 4)])
def test_an_updated_map_is_that_of_the_whole_frame_and_its_derived_rows_are_made_once(most, num_workers):
    x, made = image(2, 3, 131, 20, dtype=torch.float64), []
    kernel, large = image(3, 3, 5, 5, dtype=torch.float64), image(3, 3, 19, 19, dtype=torch.float64)

    def derive(window):
        y = torch.conv2d(window.padded(), kernel)
        made.append(y.shape[2])
        return y

    def use(window, part):
        part += torch.conv2d(window.padded(), large)
        return len(made)

    expected = x.clone()
    use(Window.of(derive(Window.of(x, 0, 131, 2)), 0, 131, 9), expected)
    made.clear()
    results = Rows(most, num_workers).update(x, derive, 2, use, 9)
    assert torch.allclose(x, expected) and len(results) >= 131 / most
    assert num_workers > 7 or sum(made) == 131  # runs of less than 18 rows share more than they have


@pytest.mark.parametrize("fusion", ["none", "calip", "parametric"])
@pytest.mark.parametrize(("most", "num_workers"), [(1, 3), (7, 1), (64, 2)])
def test_bands_give_the_networks_output_with_every_fusion(fusion, most, num_workers):
    network = trained(fusion, window=40 if fusion == "calip" else None)
    form = in_bands(network, most, num_workers)
    assert relative_error(network, form, image(2, 3, 77, 45), PROB) < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (40, 40), (41, 130), (133, 3)])
def test_bands_take_any_shape(shape):
    network = trained("calip", "add").double()
    form = in_bands(network, 5, 2, torch.float64)
    assert relative_error(network, form, image(2, 3, *shape).double(), PROB.double()) < 1e-12


def test_low_precision_gives_the_same_in_bands():
    network = trained()
    form = in_bands(network, 100, 1, torch.bfloat16)
    assert relative_error(form, in_bands(network, 4, 2, torch.bfloat16), image(1, 3, 90, 50), PROB[:1]) < 5e-3


def test_no_tensor_of_low_bands_is_larger_than_the_first_stages_map():
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else (out,)) if torch.is_tensor(t))
            return out

    form = in_bands(trained(), 4, 1)
    with Watch():
        form(image(1, 3, 300, 48), PROB[:1])
    assert max(sizes) == 8 * 300 * 48


def test_the_bands_height_follows_the_memory_and_too_little_is_refused():
    form, hazy = inference_form(trained()), torch.empty(1, 3, 4000, 3000)
    heights = [form.rows(hazy, memory).most for memory in (1.17e9, 1.18e9, 8e9, None)]
    assert 1 <= heights[0] < heights[1] < heights[2] == heights[3]
    with pytest.raises(ValueError, match="3000 x 4000 pixels need .* GB, and 0.50 GB are free"):
        form.rows(hazy, 5e8)


def test_a_cuda_frame_that_fits_is_not_cut():
    form = inference_form(trained())
    hazy = SimpleNamespace(shape=(1, 3, 1000, 1000), device=torch.device("cuda"), is_cuda=True)
    assert form.rows(hazy, 8e9).most == form.rows(hazy, None).most == 1000
    assert 64 < form.rows(hazy, 3e8).most < 1000


def test_an_error_on_any_core_ends_the_pass():
    def fail(start, stop):
        if start >= 60:
            raise ValueError("the last rows")

    with pytest.raises(ValueError, match="the last rows"):
        Rows(5, 3).each(100, fail)
