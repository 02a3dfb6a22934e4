"""The inference form of a trained network: the same outputs, several times faster, in a fraction of the memory.

    network = inference_form(network, torch.bfloat16)       # network(hazy, prob), as before (proof.py)

Folded, exactly: norm1, 1x1 and 5x5 convolution into one 5x5; norm2 into the first 1x1 of the value and pixel branches;
the fusion's last linear maps into the entrance convolution (entrance.py), which then reads 3 + K (calip) or 4
(parametric) channels instead of 51 or 6.

Layers run over rows, in place (rows.py): what lives between them is one map a resolution, 1.75 times the first stage's.
The plain form waits for memory traffic and the zeroing of fresh pages, not for arithmetic.
"""

from functools import reduce

import torch
from torch import nn
from torch.nn import functional as F

from ..mixdehazenet import padded, reflect_extend
from .attending import attended, side_by_side
from .depthwise import depthwise, fits
from .entrance import Entrance
from .folding import affine, conv, fixed, fold_input, mlp, shifted_input, with_gelu
from .plan import plan
from .rows import Window, new_map


class InferenceForm(nn.Module):
    """network(hazy, prob) of a MixDehazeNet: see `inference_form`."""

    def __init__(self, network, dtype):
        super().__init__()
        self.dtype, wide = dtype, widened(dtype)
        self.entrance = Entrance(network, wide, dtype)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(block, dtype) for block in getattr(network, f"stage{i}")) for i in range(1, 6)
        )
        self.downs = nn.ModuleList(fixed(layer, dtype) for layer in (network.down1, network.down2))
        self.joins = nn.ModuleList(
            [
                Join(network.up1[0], network.skip2, network.fusion1, dtype),
                Join(network.up2[0], network.skip1, network.fusion2, dtype),
            ]
        )
        self.exit = fixed(network.patch_unembed, wide)
        widths = {network.patch_embed.out_channels, network.patch_unembed.in_channels}
        self.channels = sum(widths)  # of the maps of full size that live at a time: one, if it serves to the end

    def forward(self, hazy, prob=None, memory=None):
        """As MixDehazeNet, but for `memory`, the bytes that may be used beyond the arguments; None: as is fastest.

        hazy: B x 3 x H x W in [-1, 1], prob: B x K; returns B x 3 x H x W in hazy's type, to rounding the same with any
        memory. Raises ValueError with the sizes where it does not suffice.
        """
        with torch.no_grad(), torch.autocast(hazy.device.type, enabled=False):
            height, width = hazy.shape[2:]
            image = reflect_extend(hazy.to(self.entrance.dtype), padded(height), padded(width))
            image = image.contiguous(memory_format=torch.channels_last)
            copied = 0 if image is hazy else image.nbytes
            plan = self.plan(image, None if memory is None else memory - copied)
            return self.through(hazy, image, prob, plan)

    def through(self, hazy, image, prob, plan):
        """The output for hazy, of which `image` is the extended copy, in the bands of a plan."""
        height, width = hazy.shape[2:]
        x = self.features(image, prob, plan)

        def restored(start, stop):
            k, b = self.exit(Window.of(x, start, stop, 1).padded().to(image.dtype)).split((1, 3), dim=1)
            part = image[:, :, start:stop]
            return (k * part - b + part)[..., :width]

        return plan.rows.fill(height, restored, lambda: torch.empty_like(hazy)).to(hazy.dtype)

    def plan(self, image, memory):
        """How the frame is gone through: see plan.py."""
        batch, _, height, width = image.shape
        shape, entrance = (batch, height, width), self.entrance.num_maps * image.itemsize
        return plan(shape, image.device, self.channels, self.dtype, memory, entrance, self.entrance.making)

    def features(self, image, prob, plan):
        """The U-Net without its last convolution: B x 3 x H x W and B x K to B x C1 x H x W."""
        first = self.first(image, prob, plan)
        second = downsampled(self.downs[0], first, plan.rows)
        if not plan.keeps:
            first = None
        self.stage(1, second, plan)
        x = downsampled(self.downs[1], second, plan.rows)
        self.stage(2, x, plan)
        x = self.joins[0](x, second, plan.rows)
        del second
        self.stage(3, x, plan)
        if first is None:
            first = self.first(image, prob, plan)
        x = self.joins[1](x, first, plan.rows)
        del first
        self.stage(4, x, plan)
        return x

    def first(self, image, prob, plan):
        """The first stage's map."""
        x = self.entrance(image, prob, plan)
        self.stage(0, x, plan)
        return x

    def stage(self, number, x, plan):
        """Put x through a stage's blocks, in place."""
        for block in self.stages[number]:
            block(x, plan.rows)
        plan.tidy()


class Block(nn.Module):
    """A MixStructureBlock, folded."""

    def __init__(self, block, dtype):
        super().__init__()
        scale, shift = affine(block.norm1)
        pointwise = fold_input(block.pointwise, scale, shift)
        weight = block.local.weight.double()
        bias = block.local.bias.double() + torch.einsum("omhw,m->o", weight, pointwise[1])
        dense = torch.einsum("omhw,mi->oihw", weight, pointwise[0][:, :, 0, 0])
        self.dense = conv(dense, None, dtype, dilation=block.local.dilation)
        # A constant passes through reflect padding: the bias of `dense` is added with those of the next convolutions.
        self.kernels = nn.ModuleList(shifted_input(layer, bias, dtype) for layer in block.depthwise_layers())
        # The map gets mlp1's result without its bias, added within a product: what follows counts the bias in.
        first, _, last = block.mlp1
        self.mlp1 = with_gelu(fixed(first, dtype), conv(last.weight, None, dtype))
        missing = last.bias.double()

        scale, shift = affine(block.norm2)
        shift = shift + scale * missing
        self.register_buffer("scale", scale[:, None, None].to(dtype))
        self.register_buffer("shift", shift[:, None, None].to(dtype))
        self.value = conv(*fold_input(block.value[0], scale, shift), dtype)
        self.value3 = fixed(block.value[1], dtype)
        pixel = conv(*fold_input(block.pixel_attention[0], scale, shift), dtype)
        self.pixel = with_gelu(pixel, fixed(block.pixel_attention[2], dtype))
        self.gate = fixed(block.gate, widened(dtype))
        self.channel = mlp(block.channel_attention, widened(dtype))
        first, _, last = block.mlp2
        self.mlp2 = with_gelu(fixed(first, dtype), conv(last.weight, last.bias.double() + missing, dtype))

    def forward(self, x, rows):
        """Put x, B x C x H x W, through the block, in place."""
        margin = reach(self.dense)
        radius = max(margin, *map(reach, self.kernels))

        def mix(window, part):
            hidden, out = self.mlp1
            out.add_to(part, hidden(self.depthwise(window)))
            return total(part)

        sums = rows.update(x, lambda window: self.dense(window.padded()), margin, mix, radius)
        mean = torch.addcmul(self.shift, added(sums), self.scale, value=1 / (x.shape[2] * x.shape[3]))
        gates = [self.gate(mean), self.channel(mean)]

        def attend(window, part):
            hidden, out = self.mlp2
            out.add_to(part, hidden(self.attended(window, part, gates)))

        rows.update(x, lambda window: self.value(window.rows), 0, attend, 1)

    def depthwise(self, window):
        """The depthwise convolutions of a window's rows, side by side."""
        if window.rows.is_cuda and fits(self.kernels):
            y = depthwise(window.rows, [layer.weight for layer in self.kernels], [layer.bias for layer in self.kernels])
            return window.inner(y)  # within the margin, rows were reflected that are not at the frame's edge
        y = window.padded()
        crops = [(window.margin - reach(layer)) for layer in self.kernels]
        height, width = y.shape[2:]
        parts = zip(self.kernels, crops, strict=True)
        return torch.cat([layer(y[:, :, crop : height - crop, crop : width - crop]) for layer, crop in parts], dim=1)

    def attended(self, window, part, gates):
        """The attentions of a band, side by side; the window is of the value map."""
        affine, pixel = [self.scale, self.shift], self.pixel(part)
        if part.is_cuda:
            kernel = [self.value3.weight, self.value3.bias]
            return attended(window.rows, window.above, part, kernel, affine, gates, pixel)
        return side_by_side(self.value3(window.padded()), part, affine, gates, pixel)


class Join(nn.Module):
    """y + SKFusion(y, skip(target)) with y = PixelShuffle(up(x)): a stage's end joins the map of its size."""

    def __init__(self, up, skip, fusion, dtype):
        super().__init__()
        wide = widened(dtype)
        self.up, self.skip = fixed(up, dtype), fixed(skip, dtype)
        self.means = nn.ModuleList(fixed(layer, wide) for layer in (up, skip))
        self.branch_weights = nn.Sequential(fixed(fusion.mlp[0], wide), nn.ReLU(), fixed(fusion.mlp[2], wide))

    def forward(self, x, target, rows):
        """x: B x C x H/2 x W/2; returns the joined map, into target, B x C' x H x W, where it comes in bands and fits.

        `up` and `skip` are linear: the means of their results follow from those of x and target.
        """
        up, skip = (layer(mean(map, rows)) for layer, map in zip(self.means, (x, target), strict=True))
        logits = self.branch_weights(up.unflatten(1, (-1, 4)).mean(2) + skip)
        weight_y, weight_skip = logits.unflatten(1, (2, -1)).softmax(dim=1).to(x.dtype).unbind(1)

        def joined(start, stop):
            first, last = start // 2, (stop + 1) // 2
            y = F.pixel_shuffle(self.up(x[:, :, first:last]), 2)[:, :, start - 2 * first : stop - 2 * first]
            return (y * (1 + weight_y)).addcmul_(weight_skip, self.skip(target[:, :, start:stop]))

        def make():
            channels = self.skip.out_channels
            return target if target.shape[1] == channels else new_map(target, channels)

        x = rows.fill(target.shape[2], joined, make)
        return x.contiguous(memory_format=torch.channels_last)  # PixelShuffle's result is not


def downsampled(layer, x, rows):
    """A 3x3 convolution of stride 2: B x C x H x W to B x C' x H/2 x W/2."""

    def strided(start, stop):
        return layer(Window.of(x, 2 * start, 2 * stop, 1).padded())

    return rows.fill(x.shape[2] // 2, strided, lambda: new_map(x[:, :, ::2, ::2], layer.out_channels))


def reach(layer):
    """How far a convolution looks, in pixels."""
    return layer.dilation[0] * (layer.kernel_size[0] // 2)


def widened(dtype):
    """float32 for low precision: what is done once an image costs nothing, and its errors shift the whole image."""
    return torch.promote_types(dtype, torch.float32)


def total(x):
    """The sum over the pixels, in float32 at least: B x C x 1 x 1."""
    return x.sum((2, 3), keepdim=True, dtype=widened(x.dtype))


def mean(x, rows):
    """The mean over the pixels, in float32 at least: B x C x 1 x 1."""
    sums = rows.each(x.shape[2], lambda start, stop: total(x[:, :, start:stop]))
    return added(sums) / (x.shape[2] * x.shape[3])


def added(sums):
    return reduce(torch.add, sums)
