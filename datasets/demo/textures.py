"""Surfaces for the demo scenes: noise, crops of the photographs that scikit-image ships, and patterns over them.

Textures are h x w x 3 float32 RGB in [0, 1]; `shape` is (h, w); `rng` a numpy Generator.
"""

from functools import cache

import cv2
import numpy as np
from skimage import data

PICTURES = ("astronaut", "camera", "chelsea", "coffee", "rocket")  # of 400 pixels a side and more


@cache
def photograph(name):
    """A bundled photograph, h x w (grey) or h x w x 3, float32 in [0, 1]."""
    return np.float32(getattr(data, name)()) / 255


def colour(rng, hue, saturation, value):
    """A random RGB colour; each argument is a (low, high) range, hue in degrees, the others in [0, 1]."""
    hsv = np.float32([[[rng.uniform(*hue) % 360, rng.uniform(*saturation), rng.uniform(*value)]]])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def any_colour(rng, value=(0.2, 0.9), saturation=(0.05, 0.5)):
    return colour(rng, (0, 360), saturation, value)


def noise(rng, shape, coarse=4, octaves=5, decay=0.6):
    """Multi-scale noise, h x w in about [-1, 1]; the coarsest layer has `coarse` cells along the longer side."""
    total, weight = np.zeros(shape, np.float32), 1.0
    for octave in range(octaves):
        cells = [max(2, int(np.ceil(coarse * 2**octave * side / max(shape)))) for side in shape]
        if max(cells) > max(shape):
            break
        grid = rng.uniform(-1, 1, cells).astype(np.float32)
        total += weight * cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)
        weight *= decay
    return total / (1 + decay)


def grain(rng, shape, name):
    """A crop of a photographed material as a factor around 1, h x w; the photograph is repeated in mirrors."""
    image = photograph(name)
    places = (np.arange(side) + rng.integers(256) for side in shape)
    return image[np.ix_(*(np.abs(place % 1022 - 511) for place in places))] / image.mean()


def plain(rng, shape, tone, roughness=0.06, material=None):
    """A painted or natural surface: one tone, stained by noise, or by a photographed material where named."""
    stain = 1 + roughness * noise(rng, shape)[..., None]
    if material:
        stain = stain * grain(rng, shape, material)[..., None] ** 0.7
    drift = 1 + 0.5 * roughness * np.stack([noise(rng, shape, 2, 2)] * 2 + [-noise(rng, shape, 2, 2)], axis=-1)
    return np.clip(tone * stain * drift, 0, 1).astype(np.float32)


def planks(rng, shape, tone, across):
    """Wooden boards running along the texture's height, `across` of them."""
    height, width = shape
    image = np.empty((*shape, 3), np.float32)
    for edge in np.array_split(np.arange(width), across):
        fibre = cv2.resize(noise(rng, (max(2, height // 16), len(edge)), 8), (len(edge), height))
        image[:, edge] = tone * (1 + rng.uniform(-0.15, 0.15) + 0.15 * fibre[..., None])
        image[:, edge[0]] *= 0.6
        image[rng.integers(height), edge] *= 0.6
    return np.clip(image, 0, 1)


def tiles(rng, shape, tone, down, across, joint=0.75):
    """Square tiles of slightly different tones with darker joints."""
    tone = tone * (1 + 0.08 * rng.standard_normal((down, across, 1)))
    image = cv2.resize(np.float32(tone), shape[::-1], interpolation=cv2.INTER_NEAREST)
    image *= 1 + 0.04 * noise(rng, shape, 8)[..., None]
    for count, axis in ((down, 0), (across, 1)):
        for line in np.linspace(0, shape[axis] - 1, count + 1).astype(int):
            image[(slice(None),) * axis + (line,)] *= joint
    return np.clip(image, 0, 1)


def wallpaper(rng, shape, tone, stripes):
    """Vertical stripes or a printed figure on a plain wall."""
    image = plain(rng, shape, tone, 0.04)
    x, y = np.linspace(0, stripes * 2 * np.pi, shape[1]), np.linspace(0, stripes * 2 * np.pi, shape[0])
    wave = np.sin(x)[None] * (np.sin(y)[:, None] if rng.random() < 0.5 else 1)
    return np.clip(image * (1 + 0.12 * np.tanh(4 * wave)[..., None]), 0, 1).astype(np.float32)


def picture(rng, shape):
    """A crop of a bundled photograph with random colours."""
    image = photograph(PICTURES[rng.integers(len(PICTURES))])
    height, width = image.shape[:2]
    image = np.broadcast_to(image.reshape(height, width, -1), (height, width, 3))
    part = rng.uniform(0.3, 0.9)
    top, left = (int(rng.uniform(0, 1 - part) * side) for side in (height, width))
    crop = image[top : top + int(part * height), left : left + int(part * width)]
    crop = cv2.resize(crop, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.clip(crop ** rng.uniform(0.7, 1.3) * rng.uniform(0.7, 1.25, 3), 0, 1).astype(np.float32)


def framed(rng, shape, inside, tone, border=0.06):
    """`inside` with a border, as of a picture, a window or a door; border: fraction of the shorter side."""
    image = plain(rng, shape, tone)
    edge = max(1, int(border * min(shape)))
    image[edge:-edge, edge:-edge] = cv2.resize(inside, (shape[1] - 2 * edge, shape[0] - 2 * edge))
    return image


def books(rng, shape, shelves):
    """A shelf seen from the front: rows of book spines in a dark frame."""
    height, width = shape
    image = plain(rng, shape, colour(rng, (15, 40), (0.3, 0.6), (0.15, 0.3)))
    bottoms = np.linspace(0, height, shelves + 1).astype(int)[1:]
    room = height // shelves
    for bottom in bottoms:
        left = 3
        while left < width - 6:
            thick, tall = rng.integers(2, 7), int(room * rng.uniform(0.6, 0.88))
            if rng.random() < 0.92:
                image[bottom - tall - 2 : bottom - 2, left : left + thick] = any_colour(rng, (0.15, 0.9), (0.1, 0.8))
            left += thick + (rng.random() < 0.3)
    return image


def facade(rng, shape, storeys, bays):
    """A building's front: wall, rows of windows that mirror the sky or stand open, a darker ground floor."""
    hue = (0, 50) if rng.random() < 0.7 else (180, 240)
    wall = colour(rng, hue, (0.03, 0.4), (0.4, 0.85))
    image = plain(rng, shape, wall, 0.1, "brick" if rng.random() < 0.3 else None)
    glass = colour(rng, (190, 240), (0.05, 0.35), (0.2, 0.5))
    frame = wall * rng.choice([0.6, 1.3])
    tall, wide = shape[0] / storeys, shape[1] / bays
    high, broad = rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.8)
    for storey in range(storeys):
        shop = storey == storeys - 1 and rng.random() < 0.7
        for bay in range(bays):
            y0, y1 = int((storey + (1 - high) / 2) * tall), int((storey + (1 + high) / 2) * tall)
            x0, x1 = int((bay + (1 - broad) / 2) * wide), int((bay + (1 + broad) / 2) * wide)
            y1 = int((storey + 0.97) * tall) if shop else y1
            image[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = frame
            pane = glass * rng.uniform(0.5, 1.5) if not shop else any_colour(rng, (0.15, 0.6))
            image[y0:y1, x0:x1] = pane * np.linspace(1.15, 0.8, max(y1 - y0, 0))[:, None, None]
            image[y0:y1, (x0 + x1) // 2] = frame
        image[int(storey * tall)] *= 0.75
    if rng.random() < 0.5:  # a sign over the shops
        image[int((storeys - 1) * tall) - 1 : int((storeys - 0.85) * tall)] = any_colour(rng, (0.3, 0.9), (0.2, 0.8))
    streaks = cv2.resize(noise(rng, (4, shape[1]), 32), shape[::-1])
    return np.clip(image * (1 + 0.06 * streaks[..., None]), 0, 1).astype(np.float32)


def foliage(rng, shape, tone, density=0.1):
    """A crown of leaves, h x w x 4: lit from above, with an opacity that is ragged at its rim."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    leaves = noise(rng, shape, 5, 5, 0.8)
    opacity = (1 - np.sqrt(x * x + y * y) + 0.45 * leaves > density).astype(np.float32)
    light = 0.8 - 0.35 * y + 0.45 * noise(rng, shape, 8, 4, 0.9)
    image = tone * np.clip(light, 0.15, 1.6)[..., None]
    return np.dstack([np.clip(image, 0, 1), opacity]).astype(np.float32)


def clouds(rng, shape):
    """A sky: overcast every other time, from grey to white; or blue, paler towards the horizon, with some clouds."""
    height, width = shape
    ramp = np.linspace(0, 1, height)[:, None, None] ** rng.uniform(0.5, 1.2)
    if rng.random() < 0.5:
        tone = rng.uniform(0.7, 1.0) * (1 + rng.normal(0, 0.03, 3))
        shade = 1 + rng.uniform(-0.25, 0.05) * (1 - ramp) + rng.uniform(0, 0.06) * noise(rng, shape)[..., None]
        return np.clip(tone * shade, 0, 1).astype(np.float32)
    zenith = colour(rng, (205, 225), (0.2, 0.65), (0.6, 0.9))
    horizon = colour(rng, (195, 220), (0.02, 0.15), (0.85, 0.97))
    sky = zenith * (1 - ramp) + horizon * ramp
    cover = np.clip(noise(rng, (height // 2, width), 4, 7) * 1.6 + rng.uniform(-0.6, 0.9), 0, 1)
    cover = cv2.resize(cover, (width, height))[..., None] * (1 - 0.5 * ramp)
    grey = rng.uniform(0.6, 0.98) + 0.12 * noise(rng, shape, 6, 6)[..., None]
    return np.clip(sky * (1 - cover) + grey * cover, 0, 1).astype(np.float32)
