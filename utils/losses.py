"""The training loss: L1, and contrastive regularisation by the features of a frozen ResNet."""

from http.client import HTTPException
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from . import checkpoint
from .distributed import mean_over_processes
from .files import first_line

LAYER_WEIGHTS = (1 / 16, 1 / 8, 1 / 4, 1.0)  # of layer1 .. layer4
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Contrastive(nn.Module):
    """Contrastive regularisation (Wu et al., CVPR 2021; AECR-Net), with ResNet features as MixDehazeNet uses it.

    sum_i w_i L1(f_i(output), f_i(clear)) / (L1(f_i(output), f_i(hazy)) + 1e-7), f_i the outputs of layer1 .. layer4,
    each L1 a mean over the batch of all processes. No gradient reaches the frozen network or the features of clear and
    hazy. `published` feeds [-1, 1] images and leaves BatchNorm in training mode, as the published code does; else
    images are normalised as the ResNet was trained and its statistics are used.
    """

    def __init__(self, resnet, published=False):
        super().__init__()
        self.resnet = resnet.requires_grad_(False).to(memory_format=torch.channels_last)
        self.published = published
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])
        self.register_buffer("layer_weights", torch.tensor(LAYER_WEIGHTS))
        self.train(published)

    def train(self, mode=True):
        return super().train(self.published)

    def features(self, image):
        """The four maps of B x 3 x H x W in [-1, 1]."""
        if not self.published:
            image = (image * 0.5 + 0.5 - self.mean) / self.std
        net = self.resnet
        x = image.contiguous(memory_format=torch.channels_last)
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        return [x := layer(x) for layer in (net.layer1, net.layer2, net.layer3, net.layer4)]

    def forward(self, output, clear, hazy):
        """output, clear, hazy: B x 3 x H x W in [-1, 1]; returns a scalar."""
        with torch.no_grad():
            positives, negatives = self.features(clear), self.features(hazy)
        distances = [
            torch.stack([F.l1_loss(own, positive), F.l1_loss(own, negative)])
            for own, positive, negative in zip(self.features(output), positives, negatives, strict=True)
        ]
        to_clear, to_hazy = mean_over_processes(torch.stack(distances)).unbind(1)  # one number a layer
        return (self.layer_weights * to_clear / (to_hazy + 1e-7)).sum()


class Loss(nn.Module):
    """L1 and, where its weight is not 0, the contrastive term. settings: those of `loss`."""

    def __init__(self, settings):
        super().__init__()
        self.weight, self.contrastive = settings.contrastive, None
        if self.weight:
            resnet = load_resnet(settings.backbone, settings.weights)
            self.contrastive = Contrastive(resnet, settings.published_features)

    def forward(self, output, clear, hazy):
        """output, clear, hazy: B x 3 x H x W in [-1, 1]; returns scalars {"loss": the weighted sum, and its terms}."""
        l1 = F.l1_loss(output, clear)
        if not self.contrastive:
            return {"loss": l1, "l1": l1}
        contrastive = self.contrastive(output, clear, hazy)
        return {"loss": l1 + self.weight * contrastive, "l1": l1, "contrastive": contrastive}


def load_resnet(backbone, weights):
    """A torchvision ResNet with the weights of a tag or a file. Raises ValueError naming the setting and the remedy."""
    from torchvision import models  # slow to import, and needed here alone

    if backbone not in models.list_models(include="resnet*"):
        raise ValueError(f"loss.backbone={backbone} is not a ResNet of torchvision's, such as resnet152")
    resnet, tags = models.get_model(backbone), models.get_model_weights(backbone).__members__
    if weights not in tags and not Path(weights).is_file():
        raise ValueError(f"loss.weights={weights} is neither a file nor one of {', '.join(tags)}")
    try:
        state = checkpoint.load(weights) if weights not in tags else tags[weights].get_state_dict(check_hash=True)
        resnet.load_state_dict(state)
    except (OSError, HTTPException) as error:  # no connection, or a bad answer
        remedy = "give a local file, loss.weights=PATH, or train without them, loss.contrastive=0"
        raise ValueError(f"loss.weights={weights} cannot be downloaded ({first_line(error)}): {remedy}") from None
    except RuntimeError:
        raise ValueError(f"loss.weights={weights} does not hold the weights of {backbone}: set loss.backbone") from None
    return resnet
