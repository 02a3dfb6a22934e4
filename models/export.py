"""A network in the form that torch.export can follow for any image size."""

import torch
from torch import nn
from torch.export import Dim

from .mixdehazenet import MIN_SIDE


class Exportable(nn.Module):
    """The same function as the network, without a decision that depends on the image's size.

    The image is always extended and cropped, by index, if only by nothing: a slice would be valid only where there is
    something to crop. No negative number is divided: ONNX rounds those quotients the other way.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, hazy, prob=None):
        """hazy: B x 3 x H x W in [-1, 1], prob: B x K; returns B x 3 x H x W, not clamped."""
        height, width = hazy.shape[2:]
        image = select(hazy, extended(height), extended(width))
        k, b = self.network.features(self.network.embed(image, prob)).split((1, 3), dim=1)
        return select(k * image - b + image, torch.arange(height), torch.arange(width))


def select(image, rows, columns):
    return image.index_select(2, rows.to(image.device)).index_select(3, columns.to(image.device))


def extended(side):
    """The indices of `reflect_index` for the side that the U-Net works at."""
    index = torch.arange(torch.sym_max((side + 3) // 4 * 4, MIN_SIDE))
    index = torch.remainder(index, torch.full_like(index, torch.sym_max(2 * side - 2, 1)))
    return torch.minimum(index, (2 * side - 2 - index).abs())


def export_program(network):
    """A torch.export program for any batch, height and width; takes (hazy, prob), or (hazy,) without a fusion."""
    inputs = {"hazy": torch.zeros(2, 3, 50, 70)}
    dims = {"hazy": {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}}
    if network.fusion is not None:
        num_classes = network.text.shape[0]
        inputs["prob"] = torch.full((2, num_classes), 1 / num_classes)
        dims["prob"] = {0: Dim("batch")}
    return torch.export.export(
        Exportable(network).eval(),
        tuple(inputs.values()),
        dynamic_shapes=dims,
        prefer_deferred_runtime_asserts_over_guards=True,  # else it asks for a proof about every rounded size
    )
