"""Furnished rooms at random, each with its true depth."""

import numpy as np

from . import textures
from .canvas import Canvas

WOOD = ((15, 38), (0.3, 0.65), (0.25, 0.75))  # hue, saturation, value
LEAVES = ((70, 125), (0.3, 0.7), (0.2, 0.5))


def room(rng, size):
    """A furnished room. Returns clear, size x 3 in [0, 1], and depth, size, in metres (about 1 to 9)."""
    width, height, length = rng.uniform(3.2, 6.5), rng.uniform(2.4, 3.1), rng.uniform(4.0, 9.0)
    position = (rng.uniform(0.3, 0.7) * width, rng.uniform(1.2, 1.7), 0.3)
    canvas = Canvas(size, position, rng.uniform(-22, 22), rng.uniform(-14, 0), rng.uniform(58, 72))
    _walls(rng, canvas, width, height, length)
    shadows = []
    for side in (0, 1):
        z = rng.uniform(1.2, 2.0)
        while z < length - 0.7:
            deep = rng.uniform(0.5, 1.8)
            if rng.random() < 0.75:
                out = rng.uniform(0.35, 0.8)
                x = 0.0 if side == 0 else width - out
                low = (x, 0, z)
                _furniture(rng, canvas, low, (x + out, min(height - 0.2, _tallness(rng)), min(z + deep, length)))
                shadows.append((low, (x + out, z + deep)))
            z += deep + rng.uniform(0.1, 1.0)
    if width > 4:
        x, z = rng.uniform(1.0, width - 2.4), rng.uniform(2.0, max(2.2, length - 2.0))
        _table(rng, canvas, (x, 0, z), (x + rng.uniform(0.8, 1.5), rng.uniform(0.45, 0.8), z + rng.uniform(0.6, 1.4)))
    x = rng.uniform(0.9, width - 1.9)
    low, high = (x, 0, length - rng.uniform(0.4, 0.8)), (x + rng.uniform(0.8, 1.9), _tallness(rng), length)
    _furniture(rng, canvas, low, high)
    return canvas.finish(20.0)


def _walls(rng, canvas, width, height, length):
    """The empty room: floor, ceiling and three walls with pictures, windows, doors."""
    scale = 80  # texels a metre
    paper = textures.colour(rng, (0, 60) if rng.random() < 0.7 else (60, 360), (0.02, 0.25), (0.45, 0.92))
    figured, stripes = rng.random() < 0.4, rng.integers(6, 20)
    for corner, along, span in (
        ((0, height, length), (width, 0, 0), width),
        ((0, height, 0), (0, 0, length), length),
        ((width, height, length), (0, 0, -length), length),
    ):
        shape = (int(height * scale), int(span * scale))
        wall = textures.wallpaper(rng, shape, paper, stripes) if figured else textures.plain(rng, shape, paper)
        for _ in range(rng.integers(1, 5)):
            _hang(rng, wall, scale)
        wall[-int(0.1 * scale) :] *= 0.6  # skirting board
        light = 0.95 if span == width else rng.uniform(0.7, 1)
        canvas.paint(corner, along, (0, -height, 0), _cornered(wall, scale), light)
    shape = (int(length * scale), int(width * scale))
    floor = _floor(rng, shape, scale)
    canvas.paint((0, 0, length), (width, 0, 0), (0, 0, -length), _cornered(floor, scale))
    ceiling = textures.plain(rng, shape, textures.colour(rng, (20, 60), (0, 0.08), (0.75, 0.95)), 0.03)
    for _ in range(rng.integers(0, 3)):
        top, left = (int(rng.uniform(0.1, 0.8) * side) for side in shape)
        ceiling[top : top + scale // 2, left : left + scale // 2] = 1.3  # a lamp
    canvas.paint((0, height, length), (width, 0, 0), (0, 0, -length), _cornered(ceiling, scale), 0.9)


def _floor(rng, shape, scale):
    wood = textures.colour(rng, *WOOD)
    kind = rng.integers(3)
    if kind == 0:
        floor = textures.planks(rng, shape, wood, int(shape[1] / scale / 0.14))
    elif kind == 1:
        tone = textures.colour(rng, (20, 50), (0, 0.3), (0.45, 0.9))
        floor = textures.tiles(rng, shape, tone, *(max(2, int(side / scale / 0.4)) for side in shape))
    else:
        floor = textures.plain(rng, shape, textures.any_colour(rng, (0.3, 0.7), (0.05, 0.4)), 0.1, "grass")
    if rng.random() < 0.5:
        rug = textures.wallpaper(rng, (shape[0] // 2, shape[1] // 2), textures.any_colour(rng), rng.integers(3, 9))
        top, left = shape[0] // 4, shape[1] // 4
        floor[top : top + rug.shape[0], left : left + rug.shape[1]] = rug
    return floor


def _hang(rng, wall, scale):
    """Put a picture, a window or a door on a wall, in place."""
    height, width = wall.shape[:2]
    kind = rng.choice(["picture", "picture", "window", "door"])
    tall, wide = {"picture": rng.uniform(0.3, 0.9, 2), "window": rng.uniform(0.8, 1.5, 2), "door": (2.0, 0.9)}[kind]
    tall, wide = int(tall * scale), int(wide * scale)
    bottom = height if kind == "door" else int(height - rng.uniform(0.8, 1.1) * scale)
    top = max(0, bottom - tall)
    left = rng.integers(0, max(1, width - wide))
    shape = (bottom - top, min(wide, width - left))
    frame = textures.colour(rng, *WOOD) * rng.choice([0.4, 1.0, 1.3])
    if kind == "window":
        view = np.minimum(textures.clouds(rng, shape) * rng.uniform(0.8, 1.6), 1)  # often blown out
        view[int(0.6 * shape[0]) :] *= textures.colour(rng, *LEAVES) + 0.2
        view[:, shape[1] // 2 - 2 : shape[1] // 2 + 2] = frame
    elif kind == "door":
        view = textures.planks(rng, shape, frame, 3)
    else:
        view = textures.picture(rng, shape)
    wall[top:bottom, left : left + shape[1]] = textures.framed(rng, shape, view, frame)


def _cornered(surface, scale, dark=0.35):
    """Darken a wall, floor or ceiling towards its edges, where less light arrives."""
    height, width = surface.shape[:2]
    x, y = (np.arange(side, dtype=np.float32) / scale for side in (width, height))
    near = [np.exp(-np.minimum(place, place[-1] - place) / 0.35) for place in (y, x)]
    return surface * ((1 - dark * near[0])[:, None] * (1 - dark * near[1])[None])[..., None]


def _tallness(rng):
    return rng.choice([rng.uniform(0.4, 0.6), rng.uniform(0.7, 1.1), rng.uniform(1.6, 2.2)])


def _furniture(rng, canvas, low, high):
    """A seat, a cabinet or a shelf, by height."""
    tone = textures.colour(rng, *WOOD) if rng.random() < 0.6 else textures.any_colour(rng)
    shape = (100, 100)
    if high[1] < 0.65:  # a sofa or bed with cushions
        cloth = textures.plain(rng, shape, textures.any_colour(rng), 0.12, "grass")
        canvas.box(low, high, cloth)
        for _ in range(rng.integers(1, 4)):
            x, z = (rng.uniform(a, max(a, b - 0.4)) for a, b in ((low[0], high[0]), (low[2], high[2])))
            pillow = textures.plain(rng, (40, 40), textures.any_colour(rng), 0.15)
            canvas.box((x, high[1], z), (x + 0.4, high[1] + rng.uniform(0.1, 0.3), z + 0.3), pillow)
    else:
        body = textures.planks(rng, shape, tone, 3)
        if rng.random() < 0.5:
            front = textures.books(rng, (160, 160), rng.integers(2, 6))
        else:
            doors = textures.tiles(rng, shape, tone, rng.integers(1, 4), 2, 0.4)
            front = textures.framed(rng, shape, doors, tone * 0.7)
        canvas.box(low, high, front, body, front)
        if high[1] < 1.3:
            _clutter(rng, canvas, low, high)


def _clutter(rng, canvas, low, high):
    """Things on a table or a cabinet: boxes, vases, screens, plants."""
    for _ in range(rng.integers(1, 5)):
        wide, tall = rng.uniform(0.08, 0.35), rng.uniform(0.08, 0.45)
        x, z = (rng.uniform(a, max(a, b - wide)) for a, b in ((low[0], high[0]), (low[2], high[2])))
        if rng.random() < 0.25:
            leaves = textures.foliage(rng, (60, 60), textures.colour(rng, *LEAVES))
            canvas.billboard((x + wide / 2, high[1], z), 2 * wide, 2 * wide, leaves)
        else:
            skin = textures.plain(rng, (40, 40), textures.any_colour(rng, (0.1, 0.95)), 0.15)
            front = textures.picture(rng, (40, 40)) if rng.random() < 0.4 else skin
            canvas.box((x, high[1], z), (x + wide, high[1] + tall, z + wide), skin, skin, front)


def _table(rng, canvas, low, high):
    (x0, _, z0), (x1, top, z1) = low, high
    tone = textures.colour(rng, *WOOD)
    wood = textures.planks(rng, (80, 80), tone, 4)
    canvas.box((x0, top - 0.05, z0), (x1, top, z1), wood * 0.8, wood)
    for x in (x0, x1 - 0.06):
        for z in (z0, z1 - 0.06):
            canvas.box((x, 0, z), (x + 0.06, top - 0.05, z + 0.06), wood[:20, :20] * 0.7)
    _clutter(rng, canvas, low, high)
