"""The inference form's entrance: image, text and probabilities to the channels of the first stage."""

import copy

import torch
from torch import nn

from ..fusion import CalipFusion, ParametricFusion, class_images, class_sums, class_weights, similarities, tilted_mean
from ..mixdehazenet import check_prob
from ..windows import CELL, at_pixels, cells
from .folding import conv, fixed
from .rows import Rows, Window, new_map


class Entrance(nn.Module):
    """Image and text to the first stage's channels: a 3x3 convolution of the image and of the maps that the text makes.

    The fusion's 2C (calip) or 3 (parametric) channels are linear in K or 1 maps: the linear map folds into the
    convolution. What calip's classes receive is constant over an image, and folds into its bias, unless it is taken
    from windows.
    """

    def __init__(self, network, dtype, out_dtype):
        super().__init__()
        self.dtype, self.out_dtype = dtype, out_dtype
        weight, bias = network.patch_embed.weight.double(), network.patch_embed.bias.double()
        fusion, own = network.fusion, weight[:, :3]
        self.maps, self.making, self.num_classes = None, 0, 0
        if fusion is not None:
            extra = weight[:, 3:] if network.merge == "concat" else own  # of the fusion's channels
            self.num_classes = len(network.text)
            self.maps = MAPS.get(type(fusion), AnyMaps)(fusion, network.text, extra, dtype)
            self.making = self.maps.making
            own, bias = torch.cat([own, self.maps.weight], dim=1), bias + self.maps.bias
        self.conv, self.num_maps = conv(own, None, dtype), own.shape[1] - 3
        self.register_buffer("bias", bias.to(dtype))

    def forward(self, image, prob, plan):
        """B x 3 x H x W and B x K to B x C1 x H x W."""
        bias, inputs, more = self.bias[:, None, None], [image], None
        if self.maps is not None:
            check_prob(prob, len(image), self.num_classes)
            maps, more = self.maps(image, prob.to(image.dtype), plan)
            inputs.append(maps)
            plan.tidy()

        def entered(start, stop):
            parts = [Window.of(part, start, stop, 1).padded() for part in inputs]
            y = self.conv(torch.cat(parts, dim=1)) + bias
            return (y if more is None else y + more(start, stop)).to(self.out_dtype)

        x = plan.rows.fill(image.shape[2], entered, lambda: new_map(image, len(self.bias), self.out_dtype))
        plan.tidy()
        return x


def joined(parts, height):
    """The cells of a frame of `height` pixels from pairs of `top` and `cell_sums`, whose rows may share cells."""
    frame = None
    for top, part in parts:
        if frame is None:
            frame = part.new_zeros(*part.shape[:2], cells(height), part.shape[3])
        frame[:, :, top // CELL :][:, :, : part.shape[2]] += part
    return frame


class CalipMaps(nn.Module):
    """CalipFusion as K maps, the weights of the classes at every pixel, and what the classes receive.

    making: bytes a pixel that it takes at most, beside a band's.
    """

    def __init__(self, fusion, text, extra, dtype):
        super().__init__()
        classes = fusion.text_embed(text.to(fusion.text_embed.weight)).double()  # K x C
        if isinstance(fusion.project, nn.Conv2d):
            self.bias = extra.sum((2, 3)) @ fusion.project.bias.double()
            extra = torch.einsum("oihw,if->ofhw", extra, fusion.project.weight[:, :, 0, 0].double())
        else:
            self.bias = 0
        pixel_text, class_image = extra.chunk(2, dim=1)
        self.weight = torch.einsum("ochw,kc->okhw", pixel_text, classes)
        self.register_buffer("constant", class_image.sum((2, 3)).to(dtype))  # C1 x C
        self.local, self.window = conv(class_image, None, dtype), fusion.window
        self.embed = fixed(fusion.image_embed, dtype)
        self.register_buffer("classes", classes.to(dtype))
        # The maps, and of every cell the sums, of bands and joined, and window_sums' four maps of double precision.
        num, channels = classes.shape
        self.making = dtype.itemsize * num + channels * (2 * dtype.itemsize * num + 4 * 8) / CELL**2

    def forward(self, image, prob, plan):
        """Returns the maps, B x K x H x W, and what is to be added to the convolution's rows start to stop."""
        height, width = image.shape[2:]
        rows = Rows(max(plan.rows.most, CELL), plan.rows.num_workers)  # lower bands would hold every cell several times
        sums = {}

        def weights(start, stop):
            pixels = self.embed(Window.of(image, start, stop, 1).padded())
            attention = similarities(pixels, self.classes).exp()
            sums[start] = class_sums(attention, pixels, start)
            return class_weights(attention, prob)

        maps = rows.fill(height, weights, lambda: new_map(image, prob.shape[1]))
        plan.tidy()  # bands leave free pages between the sums, which stay
        places = class_images(joined(sorted(sums.items()), height), prob, self.window or max(height, width))
        if places.shape[2:] == (2, 2):  # one window, the whole frame
            constant = places[:, :, 0, 0] @ self.constant.t()
            return maps, lambda start, stop: constant[:, :, None, None]

        def local(start, stop):
            return self.local(at_pixels(places, (start - 1, stop + 1), (-1, width + 1), height, width))

        return maps, local


class ParametricMaps(nn.Module):
    """ParametricFusion as one map, the attended mean of the text's numbers at every pixel."""

    making = 0

    def __init__(self, fusion, text, extra, dtype):
        super().__init__()
        key = fusion.key_weight.double() / fusion.width**0.5
        query, out = fusion.query.weight[:, :, 0, 0].double(), fusion.out.weight[:, :, 0, 0].double()
        self.score = conv((key @ query)[None, :, None, None], (key @ fusion.query.bias.double())[None], dtype)
        self.register_buffer("text", text.to(dtype))
        self.weight = torch.einsum("oihw,i->ohw", extra, out @ fusion.value_weight.double())[:, None]
        self.bias = extra.sum((2, 3)) @ (out @ fusion.value_bias.double() + fusion.out.bias.double())

    def forward(self, image, prob, plan):
        """Returns the map, B x 1 x H x W, and nothing to add."""
        tokens = prob @ self.text

        def attended(start, stop):
            u = self.score(image[:, :, start:stop])
            return tilted_mean(u.flatten(1), tokens).view_as(u)

        return plan.rows.fill(image.shape[2], attended, lambda: new_map(image, 1)), None


class AnyMaps(nn.Module):
    """A fusion of which nothing is known, as its own channels."""

    making = 0

    def __init__(self, fusion, text, extra, dtype):
        super().__init__()
        self.fusion, self.weight, self.bias = copy.deepcopy(fusion).to(dtype), extra, 0
        self.register_buffer("text", text.to(dtype))

    def forward(self, image, prob, plan):
        """Returns the fusion's channels, and nothing to add."""
        return self.fusion(image, self.text, prob), None


MAPS = {CalipFusion: CalipMaps, ParametricFusion: ParametricMaps}
