"""The inference form's entrance: image, text and probabilities to the channels of the first stage, band by band."""

import copy

import torch
from torch import nn

from ..mixdehazenet import check_prob
from .bands import Band, new_map
from .folding import fixed


class Entrance(nn.Module):
    """MixDehazeNet.embed. The fusion's channels exist only for the band at work (Fusion.in_bands).

    The fusion computes in `wide`, float32 at least, the first convolution in the type of its result.
    """

    def __init__(self, network, dtype, wide):
        super().__init__()
        self.merge, self.wide = network.merge, wide
        self.fusion = copy.deepcopy(network.fusion)
        if self.fusion is not None:
            self.fusion.to(wide)
            self.register_buffer("text", network.text.to(wide))
        self.conv = fixed(network.patch_embed, dtype)

    def forward(self, image, prob, bands):
        """B x 3 x H x W and B x K to B x C1 x H x W."""
        height = image.shape[2]
        if self.fusion is not None:
            check_prob(prob, len(image), len(self.text))
            extra = self.fusion.in_bands(image, self.text, prob.to(self.wide), lambda work: bands.each(height, work))

        def entered(start, stop):
            above, below = min(start, 1), min(height - stop, 1)  # rows that the 3x3 convolution reads, too
            rows = image[:, :, start - above : stop + below]
            if self.fusion is not None:
                more = extra(start - above, stop + below)
                rows = torch.cat([rows, more], dim=1) if self.merge == "concat" else rows + more
            rows = rows.to(self.conv.weight.dtype, memory_format=torch.channels_last)
            return self.conv(Band(rows, 1, above, below).padded())

        return bands.fill(height, entered, lambda: new_map(image, self.conv.out_channels, self.conv.weight.dtype))
