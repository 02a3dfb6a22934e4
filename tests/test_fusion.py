"""Text-image fusion: what the two forms compute."""

import pytest
import torch
from torch.nn import functional as F

from models import build_model, describe, inference_form, restore
from models.fusion import FUSIONS, CalipFusion, Fusion, ParametricFusion, tilted_mean
from tests.made import tensor_sizes

torch.manual_seed(0)
TEXT = F.normalize(torch.randn(2, 512, dtype=torch.float64), dim=1)
IMAGE = torch.rand(2, 3, 12, 15, dtype=torch.float64) * 2 - 1


def literal_parametric(fusion, image, text):
    """Attention of every pixel over the D numbers of its image's text vector, written out token by token."""
    query = fusion.query(image).flatten(2).transpose(1, 2)  # B x HW x 5
    key = text[:, :, None] * fusion.key_weight  # B x D x 5
    value = text[:, :, None] * fusion.value_weight + fusion.value_bias
    attention = (query @ key.transpose(1, 2) / 5**0.5).softmax(-1)  # B x HW x D
    return fusion.out((attention @ value).transpose(1, 2).unflatten(2, image.shape[2:]))


@pytest.mark.parametrize("scale", [1, 10, 100])
@pytest.mark.parametrize("prob", [[[1.0, 0.0], [0.0, 1.0]], [[0.3, 0.7], [0.5, 0.5]]])
def test_parametric_equals_attention_over_tokens(scale, prob):
    fusion = ParametricFusion().double()
    prob = torch.tensor(prob, dtype=torch.float64)
    with torch.no_grad():
        fusion.key_weight *= scale
    ours, literal = fusion(IMAGE, TEXT, prob), literal_parametric(fusion, IMAGE, prob @ TEXT)
    assert (ours - literal).abs().max() < 1e-6
    gradients = (torch.autograd.grad(form.square().sum(), fusion.parameters()) for form in (ours, literal))
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_parametric_makes_no_large_tensor():
    image, fusion = torch.rand(2, 3, 256, 256), ParametricFusion()
    sizes = tensor_sizes(lambda: fusion(image, TEXT.float(), torch.eye(2)).sum().backward())
    assert max(sizes) <= 16 * image.numel()


def test_tilted_mean_of_one_value_is_the_plain_mean():
    assert torch.allclose(tilted_mean(torch.zeros(2, 7, dtype=torch.float64), TEXT), TEXT.mean(1, keepdim=True))


def literal_calip(fusion, image, text, prob):
    """METHOD's equations, pixel by pixel and class by class."""
    pixels, classes = fusion.image_embed(image), fusion.text_embed(text)
    batch, channels, height, width = pixels.shape
    flat = pixels.flatten(2).transpose(1, 2)  # B x HW x C
    similarity = 2 * F.normalize(flat, dim=2) @ F.normalize(classes, dim=1).t()  # B x HW x K
    pixel_text = (similarity + prob.log()[:, None]).softmax(2) @ classes
    class_image = similarity.softmax(1).transpose(1, 2) @ flat  # B x K x C
    class_image = (prob[:, :, None] * class_image).sum(1, keepdim=True).expand_as(pixel_text)
    return torch.cat([pixel_text, class_image], 2).transpose(1, 2).unflatten(2, (height, width))


@pytest.mark.parametrize("prob", [[[1.0, 0.0], [0.0, 1.0]], [[0.3, 0.7], [0.5, 0.5]]])
def test_calip_equals_its_equations(prob):
    fusion = CalipFusion(512, channels=8).double()
    prob = torch.tensor(prob, dtype=torch.float64)
    assert torch.allclose(fusion(IMAGE, TEXT, prob), literal_calip(fusion, IMAGE, TEXT, prob))


@pytest.mark.parametrize("fusion", ["calip", "parametric"])
@pytest.mark.parametrize("merge", ["concat", "add"])
def test_every_parameter_gets_a_gradient(fusion, merge):
    left_out = []
    for seed in range(4):  # with some weights a ReLU is dead for these images
        torch.manual_seed(seed)
        network = build_model("n", fusion, merge, TEXT)
        network(IMAGE.float().repeat(1, 1, 4, 4), torch.eye(2)).square().sum().backward()
        left_out.append({name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()})
    assert not set.intersection(*left_out)


class Brightness(Fusion):
    """A fusion that nobody knows."""

    def __init__(self, text_width, merge, channels, window):
        super().__init__()
        self.embed = torch.nn.Linear(text_width, 3)

    def forward(self, image, text, prob):
        return self.embed(prob @ text)[:, :, None, None] * image.mean((1, 2, 3), keepdim=True).expand_as(image)


@pytest.mark.parametrize("merge", ["concat", "add"])
def test_a_new_fusion_works_everywhere_when_it_is_named(merge, monkeypatch):
    monkeypatch.setitem(FUSIONS, "brightness", Brightness)
    network = restore(describe(build_model("n", "brightness", merge, TEXT.float())))
    hazy, prob = IMAGE.float().repeat(1, 1, 4, 4), torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    with torch.no_grad():
        expected = network(hazy, prob)
        assert not torch.equal(expected, network(hazy, prob.flip(1)))
        assert torch.allclose(inference_form(network)(hazy, prob), expected, atol=1e-5)
