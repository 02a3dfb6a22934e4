"""Pictures with depth, and haze for them. May import numpy, OpenCV and scikit-image's photographs.

DOMAINS holds each domain's kinds of picture: scene, camera and haze. Start with rooms.py, outdoors.py or skyless.py,
which draw on a canvas (canvas.py) with textures (textures.py); then camera.py and haze.py.
"""

from typing import NamedTuple

from .camera import GARDENS, INDOORS, OUTDOORS, compress, develop
from .haze import open_haze, room_haze, smoke
from .outdoors import landscape, street
from .photographs import photograph
from .rooms import room
from .skyless import garden, town


class Kind(NamedTuple):
    """A function (rng, size) to a scene and its depth, camera.py's ranges, a function (rng, depth) of haze.py.

    blue: mean and deviation of the logarithm by which the light's blue gains and its red loses.
    """

    scene: object
    camera: dict
    haze: object
    blue: tuple = (0.02, 0.05)


_STREET, _LANDSCAPE, _TOWN, _OUTSIDE = (
    Kind(scene, OUTDOORS, open_haze, (0.05, 0.06)) for scene in (street, landscape, town, photograph)
)
_GARDEN = Kind(garden, GARDENS, smoke)
DOMAINS = {
    "indoor": (Kind(room, INDOORS, room_haze),) * 5 + (Kind(photograph, INDOORS, room_haze),),
    "outdoor": (_STREET, _GARDEN, _LANDSCAPE, _GARDEN, _TOWN, _STREET, _GARDEN, _LANDSCAPE, _OUTSIDE),
}
