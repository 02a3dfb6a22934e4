"""Bands of rows, in place, by any number of cores, give what the whole frame gives, within the memory there is."""

from unittest import mock

import pytest
import torch

from models import inference_form
from models.fast.bands import Band, Bands
from tests.made import make_network, tensor_sizes
from tests.test_forms import PROB, image


@pytest.mark.parametrize(("max_rows", "num_workers"), [(1, 1), (1, 3), (7, 2), (7, 40), (500, 4)])
def test_an_updated_map_is_that_of_the_whole_frame_and_its_derived_rows_are_made_once(max_rows, num_workers):
    x, made = image(2, 3, 131, 20, dtype=torch.float64), []
    kernel, large = image(3, 3, 5, 5, dtype=torch.float64), image(3, 3, 19, 19, dtype=torch.float64)

    def derive(band):
        y = torch.conv2d(band.padded(), kernel)
        made.append(y.shape[2])
        return y

    def use(band, part):
        part += torch.conv2d(band.padded(), large)
        return len(made)

    expected = x.clone()
    use(Band.of(derive(Band.of(x, 0, 131, 2)), 0, 131, 9), expected)
    made.clear()
    results = Bands(max_rows, num_workers).update(x, derive, 2, use, 9)
    assert torch.allclose(x, expected) and len(results) >= 131 / max_rows
    assert num_workers > 7 or sum(made) == 131  # runs of less than 18 rows share more than they have


def test_no_tensor_of_low_bands_is_larger_than_the_first_stages_map():
    form = inference_form(make_network(window=40))
    sizes = tensor_sizes(lambda: form(image(1, 3, 300, 48), PROB[:1], bands=Bands(4)))
    assert max(sizes) == 8 * 300 * 48


def planned(device, memory, num_threads=2):
    with mock.patch("torch.get_num_threads", return_value=num_threads):
        found = Bands.within(memory, (1, 4000, 3000), torch.device(device), 24, torch.float32)
    return found.max_rows, found.num_workers


def test_less_memory_makes_lower_bands_then_leaves_cores_out_then_is_refused():
    plans = [planned("cpu", memory) for memory in (None, 8e9, 2.35e9, 2.2e9, 2.15e9)]
    assert plans[0] == plans[1] == (16, 2) and 16 > plans[2][0] >= 4
    assert [num_workers for _, num_workers in plans] == [2, 2, 2, 1, 1]
    assert planned("cpu", 4e9, 64)[1] < 64
    assert planned("cuda", None) == planned("cuda", 80e9) == (4000, 1) and 64 < planned("cuda", 5e9)[0] < 4000
    for device in ("cpu", "cuda"):
        with pytest.raises(ValueError, match="3000 x 4000 pixels need 2.*GB, and 0.50 GB are free"):
            planned(device, 5e8)


def test_an_error_on_any_core_ends_the_pass():
    def fail(start, stop):
        if start >= 60:
            raise ValueError("the last rows")

    with pytest.raises(ValueError, match="the last rows"):
        Bands(5, 3).each(100, fail)
