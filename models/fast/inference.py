"""The inference form of a trained network: the same outputs, several times faster, in a fraction of the memory.

    network = inference_form(network, torch.bfloat16)       # network(hazy, prob), as before

Folded, exactly: norm1, 1x1 and 5x5 convolution into one 5x5; norm2 into the first 1x1 of the value and pixel branches;
the fusion's last linear maps into the entrance convolution (entrance.py), which then reads 3 + K (calip) or 4
(parametric) channels instead of 51 or 6.

On a CPU the layers run over bands of rows (bands.py): memory traffic and the zeroing of fresh pages, not arithmetic,
are what the plain form waits for. No map wider than a stage's channels exists as a whole; a block needs two such maps.
On CUDA the three depthwise convolutions are one kernel.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..mixdehazenet import padded, reflect_extend
from .bands import BAND_BYTES, over_bands, window
from .depthwise import DILATION, PADDING, depthwise
from .entrance import Entrance
from .folding import affine, conv, fixed, fold_input, mlp, with_gelu


def inference_form(network, dtype=torch.float32, compiled=False, graphs=False):
    """A module for inference with the outputs of a trained network, which is left as it is.

    dtype: of weights and maps; image, fusion, gates and reconstruction stay in float32 (float64 if that is asked for),
    and autocast has no effect. compiled: the U-Net through torch.compile. graphs: on CUDA, sizes that come again are
    replayed as CUDA graphs.
    """
    with torch.no_grad():
        form = InferenceForm(network, dtype).to(next(network.parameters()).device).eval().requires_grad_(False)
    if compiled:
        form.features = torch.compile(form.features)
    return GraphReplay(form) if graphs else form


class InferenceForm(nn.Module):
    """network(hazy, prob) of a MixDehazeNet: see `inference_form`."""

    def __init__(self, network, dtype):
        super().__init__()
        self.dtype, wide = dtype, widened(dtype)
        self.entrance = Entrance(network, wide, dtype)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(block, dtype) for block in getattr(network, f"stage{i}")) for i in range(1, 6)
        )
        self.skips = nn.ModuleList(fixed(layer, dtype) for layer in (network.skip1, network.skip2))
        self.downs = nn.ModuleList(fixed(layer, dtype) for layer in (network.down1, network.down2))
        self.ups = nn.ModuleList(fixed(layer[0], dtype) for layer in (network.up1, network.up2))
        self.branch_weights = nn.ModuleList(
            nn.Sequential(fixed(layer.mlp[0], wide), nn.ReLU(), fixed(layer.mlp[2], wide))
            for layer in (network.fusion1, network.fusion2)
        )
        self.exit = fixed(network.patch_unembed, wide)

    def forward(self, hazy, prob=None):
        """As MixDehazeNet: hazy B x 3 x H x W in [-1, 1], prob B x K; returns B x 3 x H x W in hazy's type."""
        with torch.no_grad(), torch.autocast(hazy.device.type, enabled=False):
            height, width = hazy.shape[2:]
            image = reflect_extend(hazy.to(self.entrance.dtype), padded(height), padded(width))
            image = image.contiguous(memory_format=torch.channels_last)
            k, b = self.features(self.entrance(image, prob)).split((1, 3), dim=1)
            return (k * image - b + image)[:, :, :height, :width].to(hazy.dtype)

    def bytes_on_cpu(self, hazy):
        """About the most memory that a forward pass takes beyond the images: measured, with a margin."""
        batch, _, height, width = hazy.shape
        channels = self.exit.in_channels
        maps = (2.75 * channels * self.dtype.itemsize + 100) * batch * height * width
        band = max(BAND_BYTES, 4 * batch * width * 4 * channels * self.dtype.itemsize)
        return maps + 8 * band * torch.get_num_threads() + 1.5e8

    def features(self, x):
        """The U-Net proper; its map x is overwritten. On a CPU the maps never need more than two of x's size."""
        skips = []
        for i in (0, 1):
            x = run_blocks(self.stages[i], x)
            skips.append(over_bands(lambda rows, x=x, i=i: self.skips[i](x[:, :, rows]), x, x.shape[1]))
            x = self.down(self.downs[i], x)
        x = run_blocks(self.stages[2], x)
        for i in (1, 0):
            x = self.join(self.ups[1 - i], x, skips.pop(), self.branch_weights[1 - i])
            x = run_blocks(self.stages[4 - i], x)
        wide = self.entrance.dtype
        return over_bands(lambda rows: self.exit(window(x, rows, 1).to(wide)), x, x.shape[1], channels=4, dtype=wide)

    def down(self, layer, x):
        """A 3x3 convolution of stride 2."""
        batch, _, height, width = x.shape
        shape = (batch, layer.out_channels, height // 2, width // 2)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)

        def strided(rows):
            return layer(window(x, slice(2 * rows.start, 2 * rows.stop), 1))

        return over_bands(strided, y, 4 * shape[1], out=y)

    def join(self, up, x, skip, branch_weights):
        """y + SKFusion(y, skip) with y = PixelShuffle(up(x)), into skip; the mean of y follows from that of x."""
        average = F.conv2d(mean(x), *(parameter.to(widened(self.dtype)) for parameter in (up.weight, up.bias)))
        logits = branch_weights(average.unflatten(1, (-1, 4)).mean(2) + mean(skip))
        weight_y, weight_skip = logits.unflatten(1, (2, -1)).softmax(dim=1).to(x.dtype).unbind(1)

        def joined_rows(rows):
            first, last = rows.start // 2, (rows.stop + 1) // 2
            y = F.pixel_shuffle(up(x[:, :, first:last]), 2)[:, :, rows.start - 2 * first : rows.stop - 2 * first]
            return (y * (1 + weight_y)).addcmul_(weight_skip, skip[:, :, rows])

        return over_bands(joined_rows, skip, 4 * skip.shape[1], out=skip)


def run_blocks(blocks, x):
    spare = None if x.is_cuda else torch.empty_like(x)
    for block in blocks:
        x, spare = block(x, spare)
    return x


class Block(nn.Module):
    """A MixStructureBlock, folded."""

    def __init__(self, block, dtype):
        super().__init__()
        scale, shift = affine(block.norm1)
        pointwise = fold_input(block.pointwise, scale, shift)
        weight = block.local.weight.double()
        bias = block.local.bias.double() + torch.einsum("omhw,m->o", weight, pointwise[1])
        self.local = conv(torch.einsum("omhw,mi->oihw", weight, pointwise[0][:, :, 0, 0]), bias, dtype)
        kernels = (block.depthwise7, block.depthwise5, block.depthwise3)
        self.kernels = nn.ModuleList(fixed(layer, dtype) for layer in kernels)
        self.mlp1 = mlp(block.mlp1, dtype)

        scale, shift = affine(block.norm2)
        self.register_buffer("scale", scale[:, None, None].to(dtype))
        self.register_buffer("shift", shift[:, None, None].to(dtype))
        self.value = conv(*fold_input(block.value[0], scale, shift), dtype)
        self.value3 = fixed(block.value[1], dtype)
        pixel = conv(*fold_input(block.pixel_attention[0], scale, shift), dtype)
        self.pixel = with_gelu(pixel, fixed(block.pixel_attention[2], dtype))
        self.gate = fixed(block.gate, widened(dtype))
        self.channel = mlp(block.channel_attention, widened(dtype))
        self.mlp2 = mlp(block.mlp2, dtype)

    def forward(self, x, spare):
        """x, and a map of its size to overwrite (None on CUDA); returns the result and a map that is free again."""
        widest = 4 * x.shape[1]
        y = over_bands(lambda rows: self.local(window(x, rows, 2)), x, widest, out=spare)
        x = over_bands(lambda rows: x[:, :, rows] + self.mlp1(self.parallel(y, rows)), x, widest, out=x)

        average = mean(x) * self.scale + self.shift
        gate, channel = (layer(average).sigmoid().to(x.dtype) for layer in (self.gate, self.channel))

        def attend(rows):
            part = x[:, :, rows]
            z = torch.addcmul(self.shift, part, self.scale)
            simple = self.value3(self.value(window(x, rows, 1))) * gate
            z = torch.cat([simple, z * channel, z * self.pixel(part).sigmoid()], dim=1)
            return part + self.mlp2(z)

        return over_bands(attend, x, widest, out=y), x

    def parallel(self, y, rows):
        """The three depthwise convolutions of y's rows, side by side."""
        if y.is_cuda:
            return depthwise(y, [layer.weight for layer in self.kernels], [layer.bias for layer in self.kernels])
        view = window(y, rows, PADDING)
        height, width = view.shape[2:]
        outputs = []
        for layer in self.kernels:
            crop = PADDING - DILATION * (layer.kernel_size[0] // 2)
            outputs.append(layer(view[:, :, crop : height - crop, crop : width - crop]))
        return torch.cat(outputs, dim=1)


def widened(dtype):
    """float32 for low precision: what is done once an image costs nothing, and its errors shift the whole image."""
    return torch.promote_types(dtype, torch.float32)


def mean(x):
    """Over the pixels, in float32 at least: B x C x 1 x 1."""
    return x.mean((2, 3), keepdim=True, dtype=widened(x.dtype))


class GraphReplay(nn.Module):
    """An inference form whose sizes that come again are recorded once and replayed, without a launch a kernel."""

    most = 8  # sizes that are kept

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.seen, self.graphs = set(), {}

    def forward(self, hazy, prob=None):
        """As the form's; a size is recorded when it comes for the second time."""
        key = (hazy.shape, hazy.dtype)
        if not hazy.is_cuda or (key not in self.seen) or (key not in self.graphs and len(self.graphs) == self.most):
            self.seen.add(key)
            return self.form(hazy, prob)
        if key not in self.graphs:
            inputs = (hazy.clone(), None if prob is None else prob.clone())
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self.form(*inputs)
            self.graphs[key] = graph, inputs, output
        graph, inputs, output = self.graphs[key]
        for static, given in zip(inputs, (hazy, prob), strict=True):
            if static is not None:
                static.copy_(given)
        graph.replay()
        return output.clone()
