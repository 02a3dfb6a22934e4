"""A network evaluated in horizontal strips: the output of the whole frame, to rounding, in a fraction of its memory.

Independent tiles would be wrong: blocks take channel means over the whole frame, so tiles would differ in tone and show
seams. Here the frame goes through the network block by block, and every block strip by strip. What lives between the
blocks is one map a resolution, changed in place: 7 bytes a pixel and channel of the first stage in float32. Rows that
two strips need (halos) are kept, not computed twice, and the reflections at the frame's edges are the frame's.
"""

import torch
from torch.nn import functional as F

from ..fusion import CalipFusion, ParametricFusion, class_images, class_sums
from ..mixdehazenet import padded, reflect_extend
from ..windows import at_pixels, joined

# Peak memory beyond the image, measured: float32 numbers a pixel for every channel of the first stage.
WHOLE = 34  # of the network's own forward pass
MAPS = 1.75  # of the maps that live between the strips, a pixel of the frame
STRIP = 48  # a pixel of a strip
HALO = 60  # a column, for the rows that strips share

CPU_STRIP = 2**24  # bytes of the widest tensor of a strip (4 C1 channels): what is faster than the whole frame on CPUs


@torch.inference_mode()
def forward_within(network, hazy, prob, memory, fast=None):
    """What network(hazy, prob) returns, in evaluation mode, by the fastest way that fits into `memory` bytes.

    That is `fast`, the network's inference form, where it fits, and else strips of the network itself, as high as fit.
    CPUs prefer low strips, whose tensors stay in the caches. Raises ValueError with the sizes where not even strips of
    one row fit.
    """
    if fast is not None and hazy.device.type == "cpu" and fast.bytes_on_cpu(hazy) <= memory:
        return fast(hazy, prob)
    rows = choose_rows(network, hazy, memory)
    return (fast or network)(hazy, prob) if rows is None else forward_in_strips(network, hazy, prob, rows)


def choose_rows(network, hazy, memory):
    """The height of the strips, or None for the whole frame."""
    batch, _, height, width = hazy.shape
    height, width = padded(height), padded(width)
    channels = network.patch_embed.out_channels
    number = 4 * batch * channels  # bytes of a float32 number a pixel and channel
    if hazy.device.type == "cuda" and WHOLE * number * height * width <= memory:
        return None
    fixed = (MAPS * number + 6 * 4 * batch) * height * width + HALO * number * width  # 6: a padded image, the output
    rows = int((memory - fixed) / (STRIP * number * width))
    if rows < 1:
        needed, there = (fixed + STRIP * number * width) / 1e9, max(memory, 0) / 1e9
        raise ValueError(
            f"{width} x {height} pixels need {needed:.2f} GB in even the thinnest strips, and {there:.2f} GB are free: "
            "allow more memory, or make the image smaller"
        )
    if hazy.device.type == "cpu":
        rows = min(rows, max(CPU_STRIP // (4 * number * width), 1))
    return min(rows, height)


@torch.inference_mode()
def forward_in_strips(network, hazy, prob=None, rows=64):
    """What network(hazy, prob) returns, in evaluation mode.

    hazy: B x 3 x H x W in [-1, 1]. prob: B x K, or None without fusion. rows: height of a strip in pixels, at every
    resolution; fewer need less memory. Returns B x 3 x H x W, not clamped.
    """
    height, width = hazy.shape[2:]
    image = reflect_extend(hazy, padded(height), padded(width))
    x1 = embed(network, image, prob, rows)
    run_stage(network.stage1, x1, rows)
    x2 = downsample(network.down1, x1, rows)
    run_stage(network.stage2, x2, rows)
    x3 = downsample(network.down2, x2, rows)
    run_stage(network.stage3, x3, rows)
    fuse_up(network.up1, network.fusion1, network.skip2, x3, x2, rows)
    del x3
    run_stage(network.stage4, x2, rows)
    fuse_up(network.up2, network.fusion2, network.skip1, x2, x1, rows)
    del x2
    run_stage(network.stage5, x1, rows)

    output = torch.empty_like(hazy)
    for start, stop in strips(height, rows):
        k, b = valid(network.patch_unembed, reflected(x1, start, stop, 1)).split((1, 3), dim=1)
        part = image[:, :, start:stop]
        output[:, :, start:stop] = (k * part - b + part)[:, :, :, :width]
    return output


# ---- strips of a frame ----


def strips(height, rows):
    """(start, stop) of every strip from top to bottom."""
    return ((start, min(start + rows, height)) for start in range(0, height, rows))


def reflected(x, start, stop, radius):
    """Rows start - radius to stop + radius of a map, reflected at all edges of the frame, as F.pad would do."""
    top, bottom = max(radius - start, 0), max(stop + radius - x.shape[2], 0)
    part = x[:, :, start - radius + top : stop + radius - bottom]
    return F.pad(part, (radius, radius, top, bottom), mode="reflect")


def sliding(make, height, rows, radius):
    """Every strip's start, stop and rows start - radius to stop + radius of a derived map, reflected at its edges.

    make(first, last) computes rows of the derived map; it is called once for every row, and for those of a strip
    and `radius` further before the strip is yielded: the caller may then overwrite what they were made from.
    """
    kept = make(0, min(radius, height))  # rows from max(start - radius, 0) to start + radius
    for start, stop in strips(height, rows):
        first, last = (min(row + radius, height) for row in (start, stop))
        window = torch.cat([kept, make(first, last)], dim=2) if first < last else kept
        kept = window[:, :, max(stop - radius, 0) - max(start - radius, 0) :].clone()
        top, bottom = max(radius - start, 0), max(stop + radius - height, 0)
        yield start, stop, F.pad(window, (radius, radius, top, bottom), mode="reflect")


def valid(conv, x):
    """A convolution without its padding."""
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


class FrameMean:
    """A mean over the pixels of a frame that come strip by strip, summed in float64."""

    def __init__(self):
        self.total, self.num = 0, 0

    def add(self, x):
        self.total = self.total + x.sum((2, 3), keepdim=True, dtype=torch.float64)
        self.num += x.shape[2] * x.shape[3]

    def value(self, like):
        """B x C x 1 x 1, of the type of `like`."""
        return (self.total / self.num).to(like.dtype)


def frame_mean(x, rows):
    mean = FrameMean()
    for start, stop in strips(x.shape[2], rows):
        mean.add(x[:, :, start:stop])
    return mean.value(x)


# ---- the entrance ----


def embed(network, image, prob, rows):
    """What network.embed(image, prob) returns."""
    batch, _, height, width = image.shape
    merged = ENTRANCES.get(type(network.fusion), whole_entrance)(network, image, prob, rows)
    output = image.new_empty(batch, network.patch_embed.out_channels, height, width)
    for start, stop, part in sliding(merged, height, rows, radius=1):
        output[:, :, start:stop] = valid(network.patch_embed, part)
    return output


def plain_entrance(network, image, prob, rows):
    return lambda start, stop: image[:, :, start:stop]


def calip_entrance(network, image, prob, rows):
    """The classes' side of CalipFusion is summed over the frame; the pixels' side is then made strip by strip."""
    fusion = network.fusion
    classes = fusion.text_embed(network.text)  # K x C
    kernel = F.normalize(classes, dim=1)[:, :, None, None] * fusion.temperature

    def look(start, stop):
        pixels = valid(fusion.image_embed, reflected(image, start, stop, 1))
        return pixels, F.conv2d(F.normalize(pixels, dim=1), kernel).exp()  # B x K x h x W

    height, width = image.shape[2:]

    def sums(start, stop):
        pixels, attention = look(start, stop)
        return start, class_sums(attention, pixels, start)

    frame = joined((sums(*strip) for strip in strips(height, rows)), height)
    places = class_images(frame, prob, fusion.window or max(height, width))

    def merged(start, stop):
        weight = look(start, stop)[1] * prob[:, :, None, None]
        pixel_text = F.conv2d(weight / weight.sum(1, keepdim=True), classes.t()[:, :, None, None])
        class_image = at_pixels(places, (start, stop), (0, width), height, width)
        extra = fusion.project(torch.cat([pixel_text, class_image], dim=1))
        return merge(network, image[:, :, start:stop], extra)

    return merged


def parametric_entrance(network, image, prob, rows):
    """ParametricFusion sees every pixel alone; its table is exact to rounding over a strip's range, too."""

    def merged(start, stop):
        part = image[:, :, start:stop]
        return merge(network, part, network.fusion(part, network.text, prob))

    return merged


def whole_entrance(network, image, prob, rows):
    """A fusion of which nothing is known sees the whole frame at once."""
    extra = network.fusion(image, network.text, prob)
    return lambda start, stop: merge(network, image[:, :, start:stop], extra[:, :, start:stop])


def merge(network, image, extra):
    return torch.cat([image, extra], dim=1) if network.merge == "concat" else image + extra


ENTRANCES = {type(None): plain_entrance, CalipFusion: calip_entrance, ParametricFusion: parametric_entrance}


# ---- parts of the network ----


def run_stage(stage, x, rows):
    """Put a map through a stage's blocks, in place."""
    for block in stage:
        mean = convolve(block, x, rows)
        attend(block, x, mean, rows)


def convolve(block, x, rows):
    """A block's first half, in place; returns the mean of the result over the frame, B x C x 1 x 1."""
    weight, bias = fold(block)
    mean = FrameMean()
    local = sliding(lambda a, b: F.conv2d(reflected(x, a, b, 2), weight, bias), x.shape[2], rows, radius=9)
    for start, stop, y in local:
        y = torch.cat([depthwise(y, conv) for conv in (block.depthwise7, block.depthwise5, block.depthwise3)], dim=1)
        part = x[:, :, start:stop]
        part += block.mlp1(y)
        mean.add(part)
    return mean.value(x)


def fold(block):
    """norm1, the 1x1 and the dense 5x5 as one 5x5 convolution: exact, as reflection commutes with the first two.

    Returns its weight, d x d x 5 x 5, and bias, d.
    """
    norm, pointwise, local = block.norm1, block.pointwise, block.local
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    mixing = pointwise.weight.double()[:, :, 0, 0]
    weight = torch.einsum("omhw,mi->oihw", local.weight.double(), mixing * scale)
    bias = local.bias.double() + local.weight.double().sum((2, 3)) @ (mixing @ shift + pointwise.bias.double())
    return weight.to(local.weight.dtype), bias.to(local.bias.dtype)


def depthwise(y, conv):
    """A depthwise convolution of a map that is padded for the widest one, by 9."""
    crop = 9 - conv.padding[0]
    return valid(conv, y[:, :, crop : y.shape[2] - crop, crop : y.shape[3] - crop])


def attend(block, x, mean, rows):
    """A block's second half, in place, given its input's mean over the frame."""
    mean = block.norm2(mean)
    gate, channel = block.gate(mean).sigmoid(), block.channel_attention(mean).sigmoid()
    values = sliding(lambda a, b: block.value[0](block.norm2(x[:, :, a:b])), x.shape[2], rows, radius=1)
    for start, stop, value in values:
        part = x[:, :, start:stop]
        y = block.norm2(part)
        simple = valid(block.value[1], value) * gate
        pixel = block.pixel_attention(y).sigmoid() * y
        part += block.mlp2(torch.cat([simple, channel * y, pixel], dim=1))


def downsample(conv, x, rows):
    """A 3x3 convolution with stride 2: B x C x H x W to B x C' x H/2 x W/2."""
    batch, _, height, width = x.shape
    output = x.new_empty(batch, conv.out_channels, height // 2, width // 2)
    for start, stop in strips(height // 2, rows):
        output[:, :, start:stop] = valid(conv, reflected(x, 2 * start, 2 * stop - 1, 1))
    return output


def fuse_up(up, fusion, skip, x, target, rows):
    """`target`, the map that `skip` reads, becomes fusion(u, skip(target)) + u with u = up(x).

    The frame's means of u and skip(target) follow from those of x and target, as `up` and `skip` are linear.
    """
    mean = up(frame_mean(x, rows)).mean((2, 3), keepdim=True) + skip(frame_mean(target, rows))
    weight_up, weight_skip = fusion.mlp(mean).unflatten(1, (2, -1)).softmax(dim=1).unbind(1)
    for start, stop in strips(x.shape[2], -(-rows // 2)):
        part = target[:, :, 2 * start : 2 * stop]
        upper = up(x[:, :, start:stop])
        part.copy_(weight_up * upper + weight_skip * skip(part) + upper)
