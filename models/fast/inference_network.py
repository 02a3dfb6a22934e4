"""The network of the inference form: the same outputs, several times faster, in a fraction of the memory.

Folded, exactly: norm1, 1x1 and 5x5 convolution into one 5x5; norm2 into the first 1x1 of the value and pixel branches.
A bias makes a map larger by a constant, and travels on to where it costs no pass over the map: through reflect padding
into the depthwise convolutions, and past the two additions of a block into the layers that read its result.

Layers run over bands of rows, in place (bands.py): what lives between them is one map a resolution, 1.75 times the
first stage's. The plain network waits for memory traffic and the zeroing of fresh pages, not for arithmetic.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from ..mixdehazenet import check_prob, padded, reflect_extend
from . import kernels
from .bands import Band, Bands
from .folding import affine, conv, fixed, mlp, of_constant


class InferenceForm(nn.Module):
    """network(hazy, prob) of a MixDehazeNet: see `inference_form`."""

    @torch.no_grad()
    def __init__(self, network, dtype):
        super().__init__()
        self.dtype, self.wide, self.merge = dtype, widened(dtype), network.merge
        self.fusion = copy.deepcopy(network.fusion)
        if self.fusion is not None:
            self.fusion.to(self.wide)
            self.register_buffer("text", network.text.to(self.wide))
        self.entrance = fixed(network.patch_embed, dtype)
        self.stages = nn.ModuleList(Stage(getattr(network, f"stage{i}"), dtype) for i in range(1, 6))
        first, second, third, fourth, fifth = (stage.lacks for stage in self.stages)
        self.down1, self.down2 = fixed(network.down1, dtype, first), fixed(network.down2, dtype, second)
        self.join1 = Join(network.up1[0], third, network.skip2, second, network.join1, dtype)
        self.join2 = Join(network.up2[0], fourth, network.skip1, first, network.join2, dtype)
        self.exit = fixed(network.patch_unembed, self.wide, fifth)
        # Channels of the maps of full size that live at a time: one map, if the first serves to the end.
        self.channels = sum({network.patch_embed.out_channels, network.patch_unembed.in_channels})
        self.eval().requires_grad_(False)

    def forward(self, hazy, prob=None, memory=None, bands=None):
        """As MixDehazeNet; returns B x 3 x H x W in hazy's type.

        memory: the bytes that may be used beyond the arguments; None: as many as is fastest. bands: the Bands to use,
        in place of those that fit into the memory. Neither changes the output beyond rounding. Raises ValueError naming
        the sizes where the memory does not suffice.
        """
        with torch.no_grad(), torch.autocast(hazy.device.type, enabled=False):
            height, width = hazy.shape[2:]
            image = reflect_extend(hazy.to(self.wide), padded(height), padded(width))
            image = image.contiguous(memory_format=torch.contiguous_format if image.is_cuda else torch.channels_last)
            if bands is None:
                shape, memory = (len(image), *image.shape[2:]), memory and memory - image.nbytes
                bands = Bands.within(memory, shape, image.device, self.channels, self.dtype)
            x = self.features(self.embed(image, prob, bands), bands)

            def restored(start, stop):
                k, b = self.exit(Band.of(x, start, stop, 1).padded().to(self.wide)).split((1, 3), dim=1)
                rows = image[:, :, start:stop]
                return (k * rows - b + rows)[..., :width]

            return bands.fill(height, restored, lambda: torch.empty_like(hazy)).to(hazy.dtype)

    def embed(self, image, prob, bands):
        """B x 3 x H x W and B x K to B x C1 x H x W. The fusion's channels exist only for the band at work."""
        height = image.shape[2]
        if self.fusion is not None:
            check_prob(prob, len(image), len(self.text))
            extra = self.fusion.in_bands(image, self.text, prob.to(self.wide), lambda work: bands.each(height, work))

        def entered(start, stop):
            band = Band.of(image, start, stop, 1)
            if self.fusion is not None:
                more = extra(start - band.above, stop + band.below)
                band.rows = torch.cat([band.rows, more], dim=1) if self.merge == "concat" else band.rows + more
            band.rows = band.rows.to(self.dtype, memory_format=torch.channels_last)
            return self.entrance(band.padded())

        return bands.fill(height, entered, lambda: kernels.new_map(image, self.entrance.out_channels, dtype=self.dtype))

    def features(self, x, bands):
        """The U-Net without its last convolution: B x C1 x H x W, overwritten, to B x C5 x H x W."""
        first = self.stages[0](x, bands)
        second = self.stages[1](downsampled(self.down1, first, bands), bands)
        x = self.stages[2](downsampled(self.down2, second, bands), bands)
        x = self.stages[3](self.join1(x, second, bands), bands)
        del second
        return self.stages[4](self.join2(x, first, bands), bands)


class Stage(nn.ModuleList):
    """A stage's blocks. lacks: the constant, C numbers, by which their result is too small."""

    def __init__(self, stage, dtype):
        super().__init__()
        self.lacks = 0
        for block in stage:
            self.append(Block(block, dtype, self.lacks))
            self.lacks = self[-1].lacks

    def forward(self, x, bands):
        """Put x, B x C x H x W, through the blocks, in place, and return it."""
        for block in self:
            block(x, bands)
        return x


class Block(nn.Module):
    """A MixStructureBlock, folded, for maps that are too small by `lacks`; by how much its result is: `self.lacks`."""

    def __init__(self, block, dtype, lacks):
        super().__init__()
        scale, shift = affine(block.norm1)
        weight, bias = block.local.weight.double(), of_constant(block.pointwise, shift + scale * lacks)
        dense = torch.einsum("omhw,mi,i->oihw", weight, block.pointwise.weight[:, :, 0, 0].double(), scale)
        self.dense = conv(dense, None, dtype, dilation=block.local.dilation)
        bias = of_constant(block.local, bias)
        self.depthwise_layers = nn.ModuleList(fixed(layer, dtype, bias) for layer in block.depthwise_layers())
        self.mlp1 = mlp(block.mlp1, dtype, last_bias=False)

        lacks = lacks + block.mlp1[2].bias.double()
        scale, shift = affine(block.norm2)
        shift = shift + scale * lacks
        self.register_buffer("scale", scale[:, None, None].to(dtype))
        self.register_buffer("shift", shift[:, None, None].to(dtype))
        value, value3 = block.value
        self.value = conv(value.weight.double() * scale[:, None, None], None, dtype)
        self.value3 = fixed(value3, dtype, of_constant(value, shift))
        self.pixel = mlp(block.pixel_attention, dtype, shift, scale)
        self.gate, self.channel = fixed(block.gate, widened(dtype)), mlp(block.channel_attention, widened(dtype))
        self.mlp2 = mlp(block.mlp2, dtype, last_bias=False)
        self.lacks = lacks + block.mlp2[2].bias.double()

    def forward(self, x, bands):
        """Put x, B x C x H x W, through the block, in place."""
        margin = reach(self.dense)
        radius = max(margin, *map(reach, self.depthwise_layers))

        def mix(band, part):
            hidden, out = self.mlp1
            out.add_to(part, hidden(self.depthwise(band)))
            return total(part)

        sums = bands.update(x, lambda band: self.dense(band.padded()), margin, mix, radius)
        mean = torch.addcmul(self.shift, sum(sums[1:], sums[0]), self.scale, value=1 / (x.shape[2] * x.shape[3]))
        gate, channel = (layer(mean).sigmoid().to(x.dtype) for layer in (self.gate, self.channel))

        def attend(band, part):
            hidden, out = self.mlp2
            out.add_to(part, hidden(self.attended(band, part, gate, channel)))

        bands.update(x, lambda band: self.value(band.rows), 0, attend, 1)

    def depthwise(self, band):
        """The depthwise convolutions of a band, side by side."""
        layers = self.depthwise_layers
        if kernels.run_on(band.rows):
            from .kernels.depthwise import depthwise, fits

            if fits(layers):
                y = depthwise(band.rows, [layer.weight for layer in layers], [layer.bias for layer in layers])
                return band.inner(y)  # the halo is wrong: its neighbours were reflected within the frame
        y = band.padded()
        height, width = y.shape[2:]
        crops = [(layer, band.margin - reach(layer)) for layer in layers]
        return torch.cat([layer(y[:, :, crop : height - crop, crop : width - crop]) for layer, crop in crops], dim=1)

    def attended(self, band, part, gate, channel):
        """The attentions of a band's rows `part`, side by side; the band is of the value map."""
        y, pixel = torch.addcmul(self.shift, part, self.scale), self.pixel(part).sigmoid()
        if kernels.run_on(part):
            from .kernels.gated import gated

            value = F.conv2d(band.padded(), self.value3.weight, groups=self.value3.groups)
            return gated(value, self.value3.bias, y, gate, channel, pixel)
        return torch.cat([self.value3(band.padded()) * gate, channel * y, pixel * y], dim=1)


class Join(nn.Module):
    """y + SKFusion(y, skip(target)) with y = PixelShuffle(up(x)): a stage's end joins the map of its size.

    x_lacks, target_lacks: the constants by which the two maps are too small.
    """

    def __init__(self, up, x_lacks, skip, target_lacks, fusion, dtype):
        super().__init__()
        wide = widened(dtype)
        self.up, self.skip = fixed(up, dtype, x_lacks), fixed(skip, dtype, target_lacks)
        self.means = nn.ModuleList([fixed(up, wide, x_lacks), fixed(skip, wide, target_lacks)])
        self.branch_weights = nn.Sequential(fixed(fusion.mlp[0], wide), nn.ReLU(), fixed(fusion.mlp[2], wide))

    def forward(self, x, target, bands):
        """x: B x C x H/2 x W/2. target: B x C' x H x W, overwritten in bands if the channels match."""
        # `up` and `skip` are linear: the means of their results follow from those of x and target.
        up, skip = (layer(mean(map, bands)) for layer, map in zip(self.means, (x, target), strict=True))
        logits = self.branch_weights(up.unflatten(1, (-1, 4)).mean(2) + skip)
        weight_y, weight_skip = logits.unflatten(1, (2, -1)).softmax(dim=1).to(x.dtype).unbind(1)

        def joined(start, stop):
            first, last = start // 2, (stop + 1) // 2
            y = F.pixel_shuffle(self.up(x[:, :, first:last]), 2)[:, :, start - 2 * first : stop - 2 * first]
            return (y * (1 + weight_y)).addcmul_(weight_skip, self.skip(target[:, :, start:stop]))

        channels = self.skip.out_channels
        fits = target.shape[1] == channels
        x = bands.fill(target.shape[2], joined, lambda: target if fits else kernels.new_map(target, channels))
        return x.contiguous(memory_format=torch.channels_last)  # PixelShuffle's result is not


def downsampled(layer, x, bands):
    """A 3x3 convolution of stride 2: B x C x H x W to B x C' x H/2 x W/2."""

    def strided(start, stop):
        return layer(Band.of(x, 2 * start, 2 * stop, 1).padded())

    return bands.fill(x.shape[2] // 2, strided, lambda: kernels.new_map(x[:, :, ::2, ::2], layer.out_channels))


def reach(layer):
    """How far a convolution looks, in pixels."""
    return layer.dilation[0] * (layer.kernel_size[0] // 2)


def widened(dtype):
    """float32 for low precision: what is done once an image costs nothing, and its errors shift the whole image."""
    return torch.promote_types(dtype, torch.float32)


def total(x):
    """The sum over the pixels, in float32 at least: B x C x 1 x 1."""
    return x.sum((2, 3), keepdim=True, dtype=widened(x.dtype))


def mean(x, bands):
    """The mean over the pixels, as `total`."""
    sums = bands.each(x.shape[2], lambda start, stop: total(x[:, :, start:stop]))
    return sum(sums[1:], sums[0]) / (x.shape[2] * x.shape[3])
