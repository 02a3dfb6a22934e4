"""Rooms, streets and landscapes at random, each with its true depth."""

import cv2
import numpy as np

from . import textures
from .canvas import Canvas

WOOD = ((15, 38), (0.3, 0.65), (0.25, 0.75))  # hue, saturation, value
LEAVES = ((70, 125), (0.3, 0.7), (0.2, 0.5))
AUTUMN = ((20, 60), (0.5, 0.8), (0.35, 0.65))
SKY_DEPTH = {"street": 600.0, "landscape": 6000.0}  # metres, instead of infinity


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
    clear, depth = canvas.finish(20.0)
    lamp = textures.colour(rng, (25, 55) if rng.random() < 0.7 else (200, 220), (0.02, 0.3), (0.85, 1.0))
    return np.clip(clear * lamp * rng.uniform(0.8, 1.15), 0, 1) ** rng.uniform(0.9, 1.2), depth


def _walls(rng, canvas, width, height, length):
    """The empty room: floor, ceiling and three walls with pictures, windows, doors."""
    scale = 80  # texels a metre
    paper = textures.colour(rng, (0, 360), (0.02, 0.35), (0.55, 0.92))
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
        floor = textures.plain(rng, shape, textures.any_colour(rng, (0.3, 0.7), (0.05, 0.4)), 0.1, "gravel")
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
        view = np.minimum(textures.clouds(rng, shape) * rng.uniform(0.8, 1.3), 1)
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
        cloth = textures.plain(rng, shape, textures.any_colour(rng), 0.12, "gravel")
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


def street(rng, size):
    """A street between buildings. Returns clear, size x 3 in [0, 1], and depth, size, in metres (about 4 to 600)."""
    half = rng.uniform(4, 9)  # of the carriageway, metres
    walk = rng.uniform(2.5, 5)
    position = (rng.uniform(-0.7, 0.7) * half, rng.uniform(1.6, 4.5), 0)
    canvas = Canvas(size, position, rng.uniform(-14, 14), 0, rng.uniform(55, 75), rng.uniform(0.5, 0.72))
    _road(rng, canvas, half, walk)
    light = rng.permutation([1.0, rng.uniform(0.55, 0.9)])  # one side of the street lies in the shade
    leaves = textures.colour(rng, *(LEAVES if rng.random() < 0.8 else AUTUMN))
    for side in (-1, 1):
        _buildings(rng, canvas, side, half + walk + rng.uniform(0, 6), light[(side + 1) // 2])
        green = rng.random() < 0.7
        z = rng.uniform(6, 14)
        while z < 140:
            if green and rng.random() < 0.8:
                _tree(rng, canvas, (side * (half + rng.uniform(0.8, 1.6)), 0, z), rng.uniform(4, 9), leaves)
            elif rng.random() < 0.6:
                _lamp(rng, canvas, side * (half + 0.5), z)
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
    clear, depth = canvas.finish(SKY_DEPTH["street"])
    return _graded(rng, clear), depth


def _road(rng, canvas, half, walk):
    """Carriageway with markings, kerbs, pavements and the ground beyond, in lengths that grow with distance."""
    asphalt = textures.colour(rng, (200, 260), (0, 0.08), (0.28, 0.5))
    slabs = textures.colour(rng, (20, 50), (0.02, 0.15), (0.45, 0.7))
    beyond = textures.colour(rng, *(LEAVES if rng.random() < 0.4 else ((20, 50), (0.05, 0.2), (0.4, 0.6))))
    for near, far in ((0, 24), (24, 96), (96, 400)):
        shape = (480, 320)
        surface = textures.plain(rng, shape, asphalt, 0.12, "gravel" if near == 0 else None)
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


def _tree(rng, canvas, foot, tall, tone):
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


def _lamp(rng, canvas, x, z):
    steel = textures.plain(rng, (60, 8), textures.colour(rng, (180, 240), (0, 0.1), (0.2, 0.5)))
    tall = rng.uniform(5, 8)
    canvas.box((x - 0.07, 0, z), (x + 0.07, tall, z + 0.14), steel)
    reach = -np.sign(x) * 1.5
    canvas.box((min(x, x + reach), tall, z), (max(x, x + reach), tall + 0.12, z + 0.2), steel)


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
    position = np.array([0, rng.uniform(3, 14), 0])
    canvas = Canvas(size, position, view=rng.uniform(50, 70), horizon=rng.uniform(0.35, 0.6))
    depths = np.geomspace(2, 5000, 300)
    x = (np.arange(canvas.width) - canvas.centre[0]) / canvas.focal * depths[:, None]
    heights = _relief(rng, x, depths)
    heights -= heights[0].max()
    _ground(rng, canvas, heights, depths, x)
    tone = textures.colour(rng, *(LEAVES if rng.random() < 0.75 else AUTUMN))
    spruce = rng.random()
    for z in np.sort(rng.uniform(12, 500, rng.integers(15, 60))):
        step, column = np.searchsorted(depths, z), rng.integers(canvas.width)
        foot = (x[step, column], heights[step, column] - 0.3, z)
        if rng.random() < spruce:
            tall = rng.uniform(5, 16)
            canvas.billboard(foot, 0.45 * tall, tall, textures.conifer(rng, (96, 48), tone * rng.uniform(0.5, 0.8)))
        else:
            _tree(rng, canvas, foot, rng.uniform(4, 11), tone)
    canvas.sky(textures.clouds(rng, size))
    clear, depth = canvas.finish(SKY_DEPTH["landscape"])
    return _graded(rng, clear), depth


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


def _graded(rng, clear):
    """A camera's own exposure and white balance."""
    return np.clip(clear * rng.uniform(0.85, 1.1) * rng.uniform(0.95, 1.05, 3).astype(np.float32), 0, 1)
