"""Text-image fusion: modules from (image, text, prob) to extra channels for the network's entrance.

image: B x 3 x H x W in [-1, 1]. text: K x D, one unit-length embedding a class. prob: B x K.
To add a fusion, derive a class from Fusion and name it in FUSIONS; training, testing and prediction take it as it is.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .windows import between_places, cell_sums, join_cells, window_sums


class Fusion(nn.Module):
    """forward(image, text, prob) returns B x extra_channels x H x W, to be merged with the image.

    Made from (width D of the text, merge, channels of the first stage, window). Merge "add" needs three extra channels.
    """

    extra_channels = 3

    def in_bands(self, image, text, prob, each):
        """A function (start, stop) to the extra channels of these rows, for large frames; by default made all at once.

        each(function): call function(start, stop) for bands of rows that make up the frame; returns the results.
        """
        channels = self(image, text, prob)
        return lambda start, stop: channels[:, :, start:stop]


class CalipFusion(Fusion):
    """Parameter-free bidirectional attention between embedded pixels and embedded classes (after CALIP, AAAI 2023).

    With pixels f_i = conv3x3(image) and classes t_k = linear(text), both of C channels, and A_ik = 2 cos(f_i, t_k):
    every pixel receives text, sum_k softmax_k(A_ik + log p_k) t_k, and every class receives image,
    sum_i softmax_i(A_ik) f_i, which is summed over the classes by p and broadcast over the pixels. With merge "add" a
    1x1 convolution brings the 2C channels to three. In evaluation mode with a `window` (pixels), the softmax over i
    runs over the window around each pixel, not over the frame: the broadcast becomes a map (windows.py).
    """

    def __init__(self, text_width, merge="concat", channels=24, window=None):
        super().__init__()
        self.window = window
        self.extra_channels = 2 * channels if merge == "concat" else 3
        self.image_embed = nn.Conv2d(3, channels, 3, padding=1, padding_mode="reflect")
        self.text_embed = nn.Linear(text_width, channels)
        self.project = nn.Conv2d(2 * channels, 3, 1) if merge == "add" else nn.Identity()

    def forward(self, image, text, prob):
        """Returns B x 2C x H x W (merge "concat": pixels' text, then classes' image) or B x 3 x H x W (merge "add")."""
        height, width = image.shape[2:]
        pixels, classes = self.image_embed(image), self.text_embed(text)  # B x C x H x W, K x C
        similarity = similarities(pixels, classes)
        attention = similarity.exp()
        if self.training or self.window is None:
            weights = similarity.flatten(2).softmax(dim=2)  # B x K x HW
            class_image = torch.einsum("bk,bkn,bcn->bc", prob, weights, pixels.flatten(2))[:, :, None, None]
        else:
            places = class_images(class_sums(attention, pixels), prob, self.window)
            class_image = between_places(between_places(places, 3, width), 2, height)
        return self.channels(attention, classes, prob, class_image)

    def in_bands(self, image, text, prob, each):
        """A first pass over the frame sums what the classes receive, a second makes the channels."""
        (height, width), classes = image.shape[2:], self.text_embed(text)
        attention = image.new_empty(len(image), height, width, len(classes)).permute(0, 3, 1, 2)  # channels_last

        def sums(start, stop):
            above, below = min(start, 1), min(height - stop, 1)  # rows that the 3x3 convolution reads, too
            pixels = self.image_embed(image[:, :, start - above : stop + below])
            pixels = pixels[:, :, above : pixels.shape[2] - below]
            attention[:, :, start:stop] = similarities(pixels, classes).exp()
            return start, class_sums(attention[:, :, start:stop], pixels, start)

        places = class_images(join_cells(each(sums), height), prob, self.window or max(height, width))
        places = between_places(places, 3, width).permute(0, 2, 3, 1).contiguous()  # rows of channels_last pixels

        def channels(start, stop):
            class_image = between_places(places, 1, height, (start, stop)).permute(0, 3, 1, 2)
            return self.channels(attention[:, :, start:stop], classes, prob, class_image)

        return channels

    def channels(self, attention, classes, prob, class_image):
        """What pixels receive beside what classes receive. attention: B x K x H x W, positive."""
        # The softmax over the classes of (log attention + log prob), written so that prob = 0 needs no infinity.
        weight = attention * prob[:, :, None, None]
        weight = weight / weight.sum(1, keepdim=True)
        pixel_text = F.conv2d(weight, classes.t()[:, :, None, None])  # B x C x H x W
        return self.project(torch.cat([pixel_text, class_image.expand_as(pixel_text)], dim=1))


def similarities(pixels, classes, temperature=2.0):
    """B x C x H x W and K x C to cosines times CALIP's scale, B x K x H x W. Their exponentials cannot overflow."""
    kernel = F.normalize(classes, dim=1)[:, :, None, None] * temperature
    norm = torch.linalg.vector_norm(pixels, dim=1, keepdim=True).clamp_min(1e-12)
    return F.conv2d(pixels, kernel) / norm  # cheaper than to normalise all channels


def class_sums(attention, pixels, top=0):
    """Sums over cells of the pixels, weighted for every class, and of the weights: B x K(C + 1) x h x w.

    attention: the weights, B x K x H x W. pixels: B x C x H x W, rows from `top` of the frame.
    """
    weighted = [cell_sums(weight * pixels, top) for weight in attention.split(1, dim=1)]
    return torch.cat([*weighted, cell_sums(attention, top)], dim=1)


def class_images(sums, prob, window):
    """The means of windows, from the frame's `class_sums`, summed over the classes by probability: B x C x h' x w'."""
    num_classes, total = prob.shape[1], 0
    weighted, weights = sums[:, :-num_classes].unflatten(1, (num_classes, -1)), sums[:, -num_classes:]
    for k in range(num_classes):
        mean = window_sums(weighted[:, k], window).div_(window_sums(weights[:, k : k + 1], window))
        total = mean.mul_(prob[:, k, None, None, None]).add_(total)
    return total.to(sums.dtype)


class ParametricFusion(Fusion):
    """The published parametric fusion, in its exact O(HW) form.

    Published, every pixel attends over the D numbers t_j of the text vector as over D tokens: query q = Wq I + bq (5
    numbers), key_j = wk t_j + bk, value_j = wv t_j + bv, scale 1 / sqrt(5). As q . key_j = s t_j + const with
    s = q . wk, the attended value is wv g(s / sqrt(5)) + bv, with the g of `tilted_mean`. bk drops out.
    """

    width = 5

    def __init__(self, *_):  # the settings of the other fusion have no meaning here
        super().__init__()
        self.query = nn.Conv2d(3, self.width, 1)
        self.key_weight = nn.Parameter(torch.randn(self.width))
        self.value_weight = nn.Parameter(torch.randn(self.width))
        self.value_bias = nn.Parameter(torch.zeros(self.width))
        self.out = nn.Conv2d(self.width, 3, 1)

    def forward(self, image, text, prob):
        # query and key fold into one 3 -> 1 convolution, value and out into one 1 -> 3
        key = self.key_weight / self.width**0.5
        weight = torch.einsum("c,cihw->ihw", key, self.query.weight)[None]
        u = F.conv2d(image, weight, (key @ self.query.bias)[None])  # B x 1 x H x W
        mean = tilted_mean(u.flatten(1), prob.to(text.dtype) @ text).view_as(u).to(image.dtype)
        out = self.out.weight[:, :, 0, 0]  # 3 x 5
        return F.conv2d(mean, (out @ self.value_weight)[:, None, None, None], out @ self.value_bias + self.out.bias)

    def in_bands(self, image, text, prob, each):
        return lambda start, stop: self(image[:, :, start:stop], text, prob)


def tilted_mean(u, tokens, knots=512):
    """g(u) = sum_j t_j exp(u t_j) / sum_j exp(u t_j), the mean of the tokens under weights tilted by u.

    u: B x N, tokens: B x D; returns B x N. g is tabulated with its slope, the variance of t under the same weights, at
    `knots` points over each row's range of u, and read by cubic Hermite interpolation. With h the spacing times the
    spread of t, the error is below h^4 / 384 times the spread: rounding, for any u a trained network makes.
    """
    with torch.no_grad(), torch.autocast(u.device.type, enabled=False):
        wide = torch.promote_types(u.dtype, torch.float32)
        lowest, highest = u.to(wide).aminmax(dim=1, keepdim=True)
        step = ((highest - lowest) / (knots - 1)).clamp_min(torch.finfo(wide).tiny ** 0.5)  # B x 1
        grid = lowest + step * torch.arange(knots, device=u.device, dtype=wide)  # B x knots
        tokens = tokens.to(wide)
        centre = tokens.mean(1, keepdim=True)
        centred = tokens - centre
        weight = grid[:, :, None] * centred[:, None]  # B x knots x D, the one tensor of this size
        weight = weight.sub_(weight.amax(2, keepdim=True)).exp_()
        moments = torch.stack([torch.ones_like(tokens), centred, centred.square()], dim=2)  # B x D x 3
        total, first, second = (weight @ moments).unbind(2)
        mean = centre + first / total
        slope = (second / total - (first / total).square()) * step
    position = (u.to(wide) - lowest) / step
    left = position.detach().floor().clamp(0, knots - 2).long()
    x = position - left
    y0, y1 = mean.gather(1, left), mean.gather(1, left + 1)
    m0, m1 = slope.gather(1, left), slope.gather(1, left + 1)
    rise = y1 - y0
    return y0 + x * (m0 + x * (3 * rise - 2 * m0 - m1 + x * (m0 + m1 - 2 * rise)))


FUSIONS = {"none": None, "calip": CalipFusion, "parametric": ParametricFusion}
