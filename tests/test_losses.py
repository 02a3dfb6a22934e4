"""The contrastive term: its equation, where gradients go, where its weights come from."""

import pytest
import torch
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from utils.losses import Contrastive, load_resnet

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random ResNet-18 weights, with BatchNorm statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    state = resnet18().state_dict()
    for name, value in state.items():
        if "running" in name:
            value.uniform_(0.9, 1.1).sub_(0.9 if "mean" in name else 0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    torch.save(state, path)
    return path


def images(seed=0, num=2, side=48):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(num, 3, side, side, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(3)]


def literal(state, output, clear, hazy, published):
    """The equation, term by term, with features by torchvision's own forward pass."""
    network, features = resnet18().double().train(published), []
    network.load_state_dict(state)
    for image in (output, clear, hazy):
        if not published:
            image = ((image + 1) / 2 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
        features.append(create_feature_extractor(network, LAYERS)(image))
    total = 0
    for layer, weight in zip(LAYERS, (1 / 16, 1 / 8, 1 / 4, 1), strict=True):
        out, positive, negative = (maps[layer] for maps in features)
        total += weight * (out - positive).abs().mean() / ((out - negative).abs().mean() + 1e-7)
    return total


@pytest.mark.parametrize("published", [False, True])
def test_it_equals_a_literal_evaluation(weights, published):
    term = Contrastive(load_resnet("resnet18", str(weights)), published).double()
    with torch.no_grad():
        expected = literal(torch.load(weights), *images(), published)
        assert abs(term(*images()) - expected) < 1e-6 * expected


def test_the_gradient_reaches_the_output_and_nothing_else(weights):
    term = Contrastive(load_resnet("resnet18", str(weights))).double()
    output, clear, hazy = (image.requires_grad_() for image in images())
    term.train()(output, clear, hazy).backward()
    assert output.grad.abs().sum() > 0 and clear.grad is None and hazy.grad is None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in term.parameters())


@pytest.mark.parametrize(
    ("backbone", "given", "message"),
    [
        ("vgg16", "IMAGENET1K_V1", "loss.backbone=vgg16 is not a ResNet of torchvision's"),
        ("resnet34", None, "does not hold the weights of resnet34: set loss.backbone"),
        ("resnet18", "nowhere.pt", "nowhere.pt is neither a file nor one of IMAGENET1K_V1"),
    ],
)
def test_what_cannot_be_had_is_named(weights, backbone, given, message):
    with pytest.raises(ValueError, match=message):
        load_resnet(backbone, given or str(weights))


def test_without_a_connection_both_ways_out_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    with pytest.raises(ValueError, match="cannot be downloaded.*unreachable.*loss.weights=PATH.*loss.contrastive=0"):
        load_resnet("resnet18", "IMAGENET1K_V1")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def refuse(*args, **kwargs):
    raise OSError("unreachable")
