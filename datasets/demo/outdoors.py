"""Streets and landscapes at random, each with its true depth."""

import cv2
import numpy as np

from . import textures
from .canvas import Canvas

LEAVES = ((70, 125), (0.3, 0.7), (0.2, 0.5))
AUTUMN = ((20, 60), (0.5, 0.8), (0.35, 0.65))


def street(rng, size):
    """A street between buildings. Returns clear, size x 3 in [0, 1], and depth, size, in metres (about 4 to 600)."""
    half = rng.uniform(4, 9)  # of the carriageway, metres
    walk = rng.uniform(2.5, 5)
    position = (rng.uniform(-0.7, 0.7) * half, rng.uniform(1.6, 4.5), 0)
    canvas = Canvas(size, position, rng.uniform(-14, 14), 0, rng.uniform(55, 75), rng.uniform(0.45, 0.82))
    _road(rng, canvas, half, walk)
    light = rng.permutation([1.0, rng.uniform(0.55, 0.9)])  # one side of the street lies in the shade
    leaves = textures.colour(rng, *(LEAVES if rng.random() < 0.8 else AUTUMN))
    for side in (-1, 1):
        _buildings(rng, canvas, side, half + walk + rng.uniform(0, 6), light[(side + 1) // 2])
        green = rng.random() < 0.7
        z = rng.uniform(6, 14)
        while z < 140:
            if green and rng.random() < 0.8:
                tree(rng, canvas, (side * (half + rng.uniform(0.8, 1.6)), 0, z), rng.uniform(4, 9), leaves)
            z += rng.uniform(6, 14)
        z = rng.uniform(8, 20)
        while z < 90:
            if rng.random() < 0.7:
                _car(rng, canvas, side * (half - 1.1), z)
            z += rng.uniform(5.5, 14)
    for _ in range(rng.integers(0, 3)):
        _car(rng, canvas, rng.uniform(-0.4, 0.4) * half, rng.uniform(15, 70))
    if rng.random() < 0.6:  # the street ends at a building
        wide, tall = rng.uniform(20, 60), rng.uniform(8, 30)
        front = textures.facade(rng, (160, 300), rng.integers(3, 9), rng.integers(5, 15))
        canvas.box((-wide / 2, 0, 180), (wide / 2, tall, 200), front, light=(0.9, 0.7, 1))
    canvas.sky(textures.clouds(rng, size))
    return canvas.finish(600.0)


def _road(rng, canvas, half, walk):
    """Carriageway with markings, kerbs, pavements and the ground beyond, in lengths that grow with distance."""
    asphalt = textures.colour(rng, (200, 260), (0, 0.08), (0.28, 0.5))
    slabs = textures.colour(rng, (20, 50), (0.02, 0.15), (0.45, 0.7))
    beyond = textures.colour(rng, *(LEAVES if rng.random() < 0.4 else ((20, 50), (0.05, 0.2), (0.4, 0.6))))
    for near, far in ((0, 24), (24, 96), (96, 400)):
        shape = (480, 320)
        surface = textures.plain(rng, shape, asphalt, 0.12)
        dashes = (np.arange(480) * (far - near) / 480) % 8 < 3
        surface[dashes[::-1], 157:163] = 0.85
        surface[:, [8, 9, 310, 311]] = 0.8
        canvas.paint((-half, 0, far), (2 * half, 0, 0), (0, 0, near - far), surface)
        for side in (-1, 1):
            inner, outer = side * half, side * (half + walk)
            pavement = textures.tiles(rng, (480, 80), slabs, 40, 6, 0.85)
            canvas.paint((inner, 0.15, far), (outer - inner, 0, 0), (0, 0, near - far), pavement)
            canvas.paint((inner, 0.15, far), (0, 0, near - far), (0, -0.15, 0), pavement * 0.8)
            ground = textures.plain(rng, (240, 240), beyond, 0.2, "grass")
            canvas.paint((outer, 0.05, far), (side * 150, 0, 0), (0, 0, near - far), ground)


def _buildings(rng, canvas, side, x, light):
    z = rng.uniform(-15, 5)
    usual = rng.uniform(6, 28)
    while z < 180:
        deep, tall = rng.uniform(8, 26), usual * rng.uniform(0.6, 1.5)
        storeys, bays = max(1, int(tall / rng.uniform(2.9, 3.6))), max(2, int(deep / rng.uniform(2, 4)))
        resolution = 24 if z < 40 else 10  # texels a metre
        front = textures.facade(rng, (int(tall * resolution), int(deep * resolution)), storeys, bays)
        inner, outer = sorted((side * x, side * (x + rng.uniform(9, 15))))
        canvas.box((inner, 0, z), (outer, tall, z + deep), front, light=(0.8, light, 1.0))
        z += deep + (0 if rng.random() < 0.6 else rng.uniform(2, 14))


def tree(rng, canvas, foot, tall, tone):
    """A trunk under a crown of several layers of leaves."""
    x, y, z = foot
    bark = textures.plain(rng, (60, 10), textures.colour(rng, (20, 40), (0.2, 0.5), (0.15, 0.4)), 0.3)
    thick = 0.04 * tall
    canvas.billboard(foot, thick, 0.6 * tall, bark)
    tone = tone * rng.uniform(0.8, 1.2)
    resolution = 160 if z < 40 else 64
    for _ in range(rng.integers(5, 8)):
        across = tall * rng.uniform(0.3, 0.5)
        place = np.array([x, y + 0.4 * tall, z]) + rng.uniform(-1, 1, 3) * tall * np.array([0.17, 0.12, 0.15])
        place[1] += 0.1 * tall
        leaves = textures.foliage(rng, (resolution, resolution), tone)
        canvas.billboard(place, across, across, leaves, rng.uniform(0.75, 1.15))


def _car(rng, canvas, x, z):
    """A body with wheels and lights, under a cabin with dark windows."""
    paint = textures.any_colour(rng, (0.1, 0.9), (0.0, 0.8))
    skin = textures.plain(rng, (40, 100), paint, 0.04) * np.linspace(1.1, 0.6, 40, dtype=np.float32)[:, None, None]
    end = skin.copy()
    end[8:16, 4:22], end[8:16, 78:96] = (0.75, 0.12, 0.1), (0.75, 0.12, 0.1)
    end[24:30, 35:65] = 0.8
    side = skin.copy()
    for middle in (20, 80):
        cv2.circle(side, (middle, 38), 9, (0.08, 0.08, 0.08), -1)
    glass = textures.framed(rng, (40, 100), np.full((40, 100, 3), 0.15, np.float32), paint, 0.15)
    wide, long, tall = 1.75, rng.uniform(3.8, 4.8), rng.uniform(1.35, 1.8)
    tyres = np.full((4, 4, 3), 0.07, np.float32)
    canvas.box((x - wide / 2 + 0.1, 0.0, z + 0.2), (x + wide / 2 - 0.1, 0.25, z + long - 0.2), tyres)
    canvas.box((x - wide / 2, 0.22, z), (x + wide / 2, 0.9, z + long), side, skin, end)
    canvas.box((x - wide / 2 + 0.15, 0.9, z + 0.5), (x + wide / 2 - 0.15, tall, z + 0.75 * long), glass, skin)


def landscape(rng, size):
    """Hills, fields and mountains with trees. Returns clear, size x 3 in [0, 1], and depth, size, in metres."""
    above = rng.random() < 0.6  # the horizon is at the top of the picture or beyond it
    position = np.array([0, rng.uniform(40, 150) if above else rng.uniform(3, 14), 0])
    horizon = rng.uniform(-0.3, 0.15) if above else rng.uniform(0.3, 0.75)
    canvas = Canvas(size, position, view=rng.uniform(40, 70), horizon=horizon)
    depths = np.geomspace(2, 5000, 300)
    x = (np.arange(canvas.width) - canvas.centre[0]) / canvas.focal * depths[:, None]
    heights = _relief(rng, x, depths)
    heights -= heights[0].max()
    _ground(rng, canvas, heights, depths, x)
    tone = textures.colour(rng, *(LEAVES if rng.random() < 0.75 else AUTUMN))
    for z in np.sort(rng.uniform(12, 500, rng.integers(15, 60))):
        step, column = np.searchsorted(depths, z), rng.integers(canvas.width)
        foot = (x[step, column], heights[step, column] - 0.3, z)
        tree(rng, canvas, foot, rng.uniform(4, 14), tone)
    canvas.sky(textures.clouds(rng, size))
    return canvas.finish(6000.0)


def _relief(rng, x, depths):
    """The ground's height, N x W metres: a gentle foreground, hills behind it, mountains at the end."""
    z = np.broadcast_to(depths[:, None], x.shape)
    mountains = rng.uniform(0, 700) if rng.random() < 0.7 else 0.0
    heights = np.zeros(x.shape, np.float32)
    for length, height, begin in ((30, 0.5, 0), (160, rng.uniform(2, 9), 30), (700, rng.uniform(10, 60), 200)):
        heights += height * _ripple(rng, x, z, length) * np.clip((z - begin) / (begin + 60), 0, 1)
    ridge = 1 - np.abs(_ripple(rng, x, z, 1800, 6)) * 1.6
    return heights + mountains * ridge * np.clip((z - 900) / 2500, 0, 1)


def _ripple(rng, x, z, length, octaves=3):
    """Noise sampled at world positions; `length`: metres of its coarsest cell."""
    field = textures.noise(rng, (512, 512), 16, octaves)
    scale = 32 / length
    place = [np.float32((axis * scale + 4096 * 512 + 256) % 1024) for axis in (x, z)]
    place = [np.where(axis < 512, axis, 1023 - axis) for axis in place]
    return cv2.remap(field, place[0], place[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _ground(rng, canvas, heights, depths, x):
    """Paint the terrain: meadows and fields near, woods on the hills, rock and snow on high ground, lit from a side."""
    rise = np.gradient(heights, axis=1) / np.gradient(x, axis=1)
    ahead = np.gradient(heights, depths, axis=0)
    light = np.clip(0.9 + rng.choice([-1, 1]) * 0.9 * rise - 0.5 * ahead, 0.35, 1.3)
    grass, field, wood = (textures.colour(rng, *tone) for tone in (LEAVES, ((35, 95), (0.3, 0.6), (0.4, 0.75)), LEAVES))
    rock = textures.colour(rng, (15, 40), (0.05, 0.2), (0.35, 0.6))
    patches, woods = (rng.uniform(-0.3, 0.3) for _ in range(2))
    tree_line = rng.uniform(60, 250)

    def colour(x, z, step):
        height, sun = (np.take_along_axis(grid, step, axis=0)[..., None] for grid in (heights, light))
        share = [
            np.clip(8 * (_ripple(rng, x, z, 60, 2) - patches), 0, 1)[..., None],
            (np.clip(6 * (_ripple(rng, x, z, 250, 4) - woods), 0, 1) * np.clip((z - 150) / 150, 0, 1))[..., None],
            np.clip((height - tree_line) / 60, 0, 1),
        ]
        tone = grass
        for part, other in zip(share, (field, 0.6 * wood, rock), strict=True):
            tone = tone * (1 - part) + other * part
        detail = sum(
            weight * _ripple(rng, x, z, length) * np.clip(1.5 - z * 0.02 / length, 0, 1)
            for length, weight in ((0.3, 0.25), (1.5, 0.25), (8, 0.2), (40, 0.2), (200, 0.2))
        )
        return np.clip(tone * (1 + detail[..., None]) * sun, 0, 1)

    canvas.terrain(heights, depths, colour)
