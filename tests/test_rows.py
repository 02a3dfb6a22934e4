"""The executor: bands of rows, in place, by any number of cores, give what the whole frame gives."""

from unittest import mock

import pytest
import torch

from models.fast.plan import Plan, plan
from models.fast.proof import inference_form
from models.fast.rows import Rows, Window
from tests.test_forms import PROB, image, relative_error, trained


def in_bands(network, most, num_workers, dtype=torch.float32, keeps=True):
    form = inference_form(network, dtype)
    form.plan = lambda image, memory: Plan(Rows(most, num_workers), keeps, tidies=not keeps)
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


def test_a_first_stages_map_that_is_made_again_is_the_same():
    network, hazy = trained("calip", window=40), image(2, 3, 77, 45)
    kept, made_again = (in_bands(network, 7, 2, keeps=keeps)(hazy, PROB) for keeps in (True, False))
    assert torch.equal(kept, made_again)


def planned(device, memory, num_threads=2):
    with mock.patch("torch.get_num_threads", return_value=num_threads):
        found = plan((1, 4000, 3000), torch.device(device), 24, torch.float32, memory)
    return found.rows.most, found.rows.num_workers, found.keeps, found.tidies


def test_less_memory_makes_lower_bands_then_a_map_twice_then_leaves_cores_out():
    plans = [planned("cpu", memory) for memory in (None, 8e9, 2.35e9, 2.2e9, 2.0e9, 1.82e9)]
    assert plans[0] == plans[1] == (16, 2, True, False)
    assert 16 > plans[2][0] > plans[3][0] and plans[2][1:] == plans[3][1:] == (2, True, True)
    assert plans[4][1:] == (2, False, True) and plans[5][1:] == (1, False, True)
    assert planned("cpu", 2.5e9, 64)[1] < 64
    with pytest.raises(ValueError, match="3000 x 4000 pixels need .* GB, and 0.50 GB are free"):
        planned("cpu", 5e8)


def test_what_makes_the_texts_maps_counts():
    def planned_for(making):
        with mock.patch("torch.get_num_threads", return_value=2):
            return plan((1, 4320, 7680), torch.device("cpu"), 24, torch.bfloat16, 4e9, 8, making)

    assert not planned_for(0).tidies and planned_for(80).tidies
    form = inference_form(trained("calip", window=40))
    assert form.entrance.making == 4 * 2 + 8 * (4 * 4 + 4 * 8) / 16  # 2 classes, 8 channels
    assert inference_form(trained("none")).entrance.making == 0


def test_a_cuda_frame_that_fits_is_not_cut():
    assert planned("cuda", None) == planned("cuda", 80e9) == (4000, 1, True, False)
    assert 64 < planned("cuda", 5e9)[0] < 4000


def test_an_error_on_any_core_ends_the_pass():
    def fail(start, stop):
        if start >= 60:
            raise ValueError("the last rows")

    with pytest.raises(ValueError, match="the last rows"):
        Rows(5, 3).each(100, fail)
