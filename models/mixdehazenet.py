"""MixDehazeNet, a U-Net of mix-structure blocks (Lu et al., IJCNN 2024), with an optional text-image fusion in front.

This is the plain form of the network: the reference that every faster form is tested against.
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

# size -> (channels of the five stages, blocks a stage)
SIZES = {
    "n": ((8, 16, 32, 16, 8), (1, 1, 1, 1, 1)),  # nano: the demo's, not a published size
    "t": ((24, 48, 96, 48, 24), (1, 1, 2, 1, 1)),
    "s": ((24, 48, 96, 48, 24), (2, 2, 4, 2, 2)),
    "b": ((24, 48, 96, 48, 24), (4, 4, 8, 4, 4)),
    "l": ((24, 48, 96, 48, 24), (8, 8, 16, 8, 8)),
}

MIN_SIDE = 40  # pixels: at a quarter of it, the map must be larger than its widest reflection, 9 pixels


def reflect_conv(in_channels, out_channels, kernel, stride=1, dilation=1, groups=1, conv=nn.Conv2d):
    """Convolution that keeps the size (divided by `stride`), padded by reflection."""
    padding = dilation * (kernel - 1) // 2
    return conv(in_channels, out_channels, kernel, stride, padding, dilation, groups, padding_mode="reflect")


def pointwise_mlp(in_channels, hidden, out_channels, conv=nn.Conv2d):
    """1x1 convolution, GELU (erf), 1x1 convolution."""
    return nn.Sequential(conv(in_channels, hidden, 1), nn.GELU(), conv(hidden, out_channels, 1))


class MixStructureBlock(nn.Module):
    """Two residual halves: parallel large dilated convolutions, then parallel attentions."""

    conv = nn.Conv2d  # the class of every convolution
    recompute = False  # keep no intermediate of the two halves for the backward pass but compute it again there

    def __init__(self, dim):
        super().__init__()
        conv = self.conv
        self.norm1 = nn.BatchNorm2d(dim)
        self.pointwise = conv(dim, dim, 1)
        self.local = reflect_conv(dim, dim, 5, conv=conv)
        self.depthwise7 = reflect_conv(dim, dim, 7, dilation=3, groups=dim, conv=conv)
        self.depthwise5 = reflect_conv(dim, dim, 5, dilation=3, groups=dim, conv=conv)
        self.depthwise3 = reflect_conv(dim, dim, 3, dilation=3, groups=dim, conv=conv)
        self.mlp1 = pointwise_mlp(3 * dim, 4 * dim, dim, conv)

        self.norm2 = nn.BatchNorm2d(dim)
        self.value = nn.Sequential(conv(dim, dim, 1), reflect_conv(dim, dim, 3, groups=dim, conv=conv))
        self.gate = conv(dim, dim, 1)
        self.channel_attention = pointwise_mlp(dim, dim, dim, conv)
        self.pixel_attention = pointwise_mlp(dim, dim // 8, 1, conv)
        self.mlp2 = pointwise_mlp(3 * dim, 4 * dim, dim, conv)

    def forward(self, x):
        """x: B x dim x H x W; returns the same shape."""
        x = x + self.half(self.mix, self.dense(self.norm1(x)))
        return x + self.half(self.attend, self.norm2(x))

    def half(self, function, y):
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, y, use_reentrant=False, preserve_rng_state=False)
        return function(y)

    def mix(self, y):
        """Large kernels side by side, then the MLP that mixes their channels."""
        return self.mlp(self.mlp1, self.depthwise(y))

    def attend(self, y):
        """Simple, channel and pixel attention of the normalised map side by side, then the MLP."""
        mean = y.mean((2, 3), keepdim=True)
        gate, channel = self.gate(mean).sigmoid(), self.channel_attention(mean).sigmoid()
        return self.mlp(self.mlp2, self.gated(y, gate, channel, self.pixel_attention(y).sigmoid()))

    def dense(self, y):
        """B x dim x H x W to the same; nothing non-linear lies between the two convolutions."""
        return self.local(self.pointwise(y))

    def depthwise(self, y):
        """B x dim x H x W to B x 3 dim x H x W."""
        return torch.cat([layer(y) for layer in self.depthwise_layers()], dim=1)

    def depthwise_layers(self):
        return self.depthwise7, self.depthwise5, self.depthwise3

    def gated(self, y, gate, channel, pixel):
        """y: B x dim x H x W. gate, channel: B x dim x 1 x 1. pixel: B x 1 x H x W. Returns B x 3 dim x H x W."""
        return torch.cat([self.value(y) * gate, channel * y, pixel * y], dim=1)

    def mlp(self, layers, y):
        return layers(y)


class SKFusion(nn.Module):
    """Selective-kernel fusion of two maps: a softmax over the two branches for every channel (Li et al., CVPR 2019)."""

    def __init__(self, dim):
        super().__init__()
        hidden = max(dim // 8, 4)
        first, last = nn.Conv2d(dim, hidden, 1, bias=False), nn.Conv2d(hidden, 2 * dim, 1, bias=False)
        self.mlp = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, x, skip):
        """x, skip: B x dim x H x W; returns their weighted sum, the same shape."""
        logits = self.mlp((x + skip).mean((2, 3), keepdim=True))
        # autocast's softmax is float32, and would make the maps that follow so
        weight_x, weight_skip = logits.unflatten(1, (2, -1)).softmax(dim=1).to(x.dtype).unbind(1)
        return weight_x * x + weight_skip * skip


class MixDehazeNet(nn.Module):
    """The U-Net: fusion, three stages down, two up, and a soft reconstruction J = k I - b + I.

    fusion: a module from (image, text, prob) to extra channels, which are concatenated to the image or, three of them,
    added to it (`merge`); or None. text: K x D, a buffer, so that a state dict is complete without CLIP.
    """

    block, conv = MixStructureBlock, nn.Conv2d  # the classes of the blocks and of the convolutions between them

    def __init__(self, size="s", fusion=None, merge="concat", text=None):
        super().__init__()
        (c1, c2, c3, c4, c5), (n1, n2, n3, n4, n5) = SIZES[size]
        self.size, self.fusion, self.merge = size, fusion, merge
        self.register_buffer("text", text)
        extra = fusion.extra_channels if fusion is not None and merge == "concat" else 0
        conv = self.conv
        self.patch_embed = reflect_conv(3 + extra, c1, 3, conv=conv)
        self.stage1 = self.stage(c1, n1)
        self.skip1 = conv(c1, c5, 1)
        self.down1 = reflect_conv(c1, c2, 3, stride=2, conv=conv)
        self.stage2 = self.stage(c2, n2)
        self.skip2 = conv(c2, c4, 1)
        self.down2 = reflect_conv(c2, c3, 3, stride=2, conv=conv)
        self.stage3 = self.stage(c3, n3)
        self.up1 = nn.Sequential(conv(c3, 4 * c4, 1), nn.PixelShuffle(2))
        self.join1 = SKFusion(c4)
        self.stage4 = self.stage(c4, n4)
        self.up2 = nn.Sequential(conv(c4, 4 * c5, 1), nn.PixelShuffle(2))
        self.join2 = SKFusion(c5)
        self.stage5 = self.stage(c5, n5)
        self.patch_unembed = reflect_conv(c5, 4, 3, conv=conv)

    def forward(self, hazy, prob=None):
        """Dehaze a batch of images of any size from 1 x 1.

        hazy: B x 3 x H x W, RGB in [-1, 1]. prob: B x K, the probability of each text class; left out without a fusion.
        Returns B x 3 x H x W, not clamped.
        """
        height, width = hazy.shape[2:]
        image = reflect_extend(hazy, padded(height), padded(width))
        k, b = self.features(self.embed(image, prob)).split((1, 3), dim=1)
        return (k * image - b + image)[:, :, :height, :width]

    def stage(self, dim, depth):
        return nn.Sequential(*[self.block(dim) for _ in range(depth)])

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in [name for name in state_dict if name.startswith((f"{prefix}fusion1.", f"{prefix}fusion2."))]:
            state_dict[name.replace("fusion", "join", 1)] = state_dict.pop(name)  # the joins' name in old checkpoints
        super()._load_from_state_dict(state_dict, prefix, *args)

    def embed(self, image, prob):
        """Image and text to the channels of the first stage: B x 3 x H x W and B x K to B x C1 x H x W."""
        if self.fusion is None:
            return self.patch_embed(image)
        check_prob(prob, image.shape[0], self.text.shape[0])
        extra = self.fusion(image, self.text, prob)
        return self.patch_embed(torch.cat([image, extra], dim=1) if self.merge == "concat" else image + extra)

    def features(self, x):
        """The U-Net proper: B x C1 x H x W (H and W multiples of 4) to the B x 4 x H x W maps k and b."""
        x = self.stage1(x)
        skip1 = self.skip1(x)
        x = self.stage2(self.down1(x))
        skip2 = self.skip2(x)
        x = self.up1(self.stage3(self.down2(x)))
        x = self.up2(self.stage4(self.join1(x, skip2) + x))
        return self.patch_unembed(self.stage5(self.join2(x, skip1) + x))


def check_prob(prob, num_images, num_classes):
    if prob is None or prob.shape != (num_images, num_classes):
        got = None if prob is None else tuple(prob.shape)
        raise ValueError(f"prob must be {num_images} x {num_classes} (images x text classes), got {got}")


def padded(side):
    """The side, in pixels, that the U-Net works at: a multiple of 4 that the widest reflection fits into."""
    return max(-(-side // 4) * 4, MIN_SIDE)


def reflect_extend(image, height, width):
    """Extend B x C x H x W at the bottom and right by reflection, repeated as often as a small image needs."""
    if image.shape[2:] == (height, width):
        return image
    image = image[:, :, reflect_index(image.shape[2], height, image.device)]
    return image[:, :, :, reflect_index(image.shape[3], width, image.device)]


def reflect_index(side, length, device=None):
    """Source indices of a reflection without repeated edge: 0 .. side-1, side-2 .. 0, 1 ..."""
    index = torch.arange(length, device=device) % max(2 * side - 2, 1)
    return torch.minimum(index, (2 * side - 2 - index).abs())
