"""Outdoor scenes with little or no sky: towns seen from above, and gardens, each with its true depth."""

import numpy as np

from . import textures
from .canvas import Canvas
from .outdoors import AUTUMN, LEAVES, tree


def town(rng, size):
    """Houses seen from above. Returns clear, size x 3 in [0, 1], and depth, size, in metres (about 5 to 3000)."""
    above = rng.uniform(20, 80)
    canvas = Canvas(size, (0, above, 0), rng.uniform(-20, 20), 0, rng.uniform(35, 65), rng.uniform(-0.3, 0.05))
    tone, usual, street = textures.colour(rng, *LEAVES), rng.uniform(5, 22), rng.uniform(25, 50)
    ground = textures.plain(rng, (400, 600), tone, 0.3, "grass")
    for near, far in ((0, 300), (300, 9000)):
        canvas.paint((-far, 0, far), (2 * far, 0, 0), (0, 0, near - far), ground)
    fronts = [textures.facade(rng, (90, 150), rng.integers(2, 9), rng.integers(4, 12)) for _ in range(5)]
    roofs = [textures.plain(rng, (30, 30), textures.any_colour(rng, (0.25, 0.7), (0.02, 0.5)), 0.2) for _ in range(5)]
    z = above
    while z < 1500:
        for x in np.arange(-z, z, street):
            wide, deep = rng.uniform(0.3, 0.8, 2) * street
            if rng.random() < 0.75:
                tall = usual * rng.uniform(0.6, 1.5)
                canvas.box((x, 0, z), (x + wide, tall, z + deep), fronts[rng.integers(5)], roofs[rng.integers(5)])
            elif z < 300:
                tree(rng, canvas, (x, 0, z), rng.uniform(6, 14), tone)
        z += street * max(1, z / 300)
    for _ in range(rng.integers(0, 5)):  # treetops before the view
        z = rng.uniform(5, 14)
        foot = (rng.uniform(-0.7, 0.7) * z, above - rng.uniform(0.6, 1.3) * z, z)
        tree(rng, canvas, foot, 0.6 * z, tone * rng.uniform(0.5, 1))
    canvas.sky(textures.clouds(rng, size))
    return canvas.finish(3000.0)


def garden(rng, size):
    """Lawn, gravel, hedges and trees before a wood. Returns clear, size x 3 in [0, 1], and depth, size, in metres."""
    position, view = (0, rng.uniform(1.2, 2.6), 0), rng.uniform(50, 70)
    canvas = Canvas(size, position, rng.uniform(-12, 12), 0, view, rng.uniform(0.15, 0.5))
    end = rng.uniform(15, 50)
    leaves = textures.colour(rng, *(LEAVES if rng.random() < 0.75 else AUTUMN))
    grass, gravel = textures.colour(rng, *LEAVES), textures.colour(rng, (15, 45), (0.02, 0.25), (0.3, 0.6))
    for near, far in ((0, 0.2 * end), (0.2 * end, end)):
        lawn = textures.plain(rng, (400, 600), grass, 0.3, "grass")
        path = textures.plain(rng, (400, 600), gravel, 0.3, "gravel")
        share = np.clip(6 * (textures.noise(rng, (400, 600), 6, 5, 0.7) + rng.uniform(-0.7, 0.4)), 0, 1)[..., None]
        ground = lawn * share + path * (1 - share)
        canvas.paint((-1.5 * far, 0, far), (3 * far, 0, 0), (0, 0, near - far), ground)
    undergrowth = textures.plain(rng, (120, 480), leaves * rng.uniform(0.2, 0.6), 0.6, "grass")
    canvas.billboard((0, -1, 1.01 * end), 8 * end, 4 * end, undergrowth)
    for distance in (end, rng.uniform(0.6, 0.9) * end):
        for x in np.arange(-2 * end, 2 * end, 0.25 * end):
            tall = rng.uniform(0.4, 1.2) * end
            wood = textures.foliage(rng, (120, 100), leaves * rng.uniform(0.4, 1.1))
            canvas.billboard((x + rng.uniform(0, 0.2) * end, -0.1 * tall, distance), 0.5 * end, tall, wood)
    for _ in range(rng.integers(2, 9)):  # hedges, walls, benches
        z = rng.uniform(0.1, 0.9) * end
        green = rng.random() < 0.5
        tone = leaves * rng.uniform(0.4, 1.1) if green else textures.any_colour(rng, (0.2, 0.9), (0.02, 0.6))
        side = textures.plain(rng, (80, 160), tone, 0.3, "grass" if green else "brick" if rng.random() < 0.4 else None)
        x, wide = rng.uniform(-0.7, 0.6) * z, rng.uniform(0.3, 6)
        canvas.box((x, 0, z), (x + wide, rng.uniform(0.3, 2), z + rng.uniform(0.3, 3)), side)
    for _ in range(rng.integers(3, 14)):
        z = rng.uniform(0.12, 0.95) * end
        tree(rng, canvas, (rng.uniform(-0.6, 0.6) * z, 0, z), rng.uniform(0.8, 8), leaves)
    return canvas.finish(end)
