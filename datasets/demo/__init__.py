"""Pictures with depth, and haze for them. May import numpy, OpenCV and scikit-image's photographs.

DOMAINS holds each domain's kinds of scene, camera and haze. Start with rooms.py or outdoors.py, which draw on a canvas
(canvas.py) with textures (textures.py); then camera.py and haze.py.
"""

from typing import NamedTuple

from .camera import INDOORS, OUTDOORS, compress, develop
from .haze import indoor_haze, outdoor_haze
from .outdoors import landscape, street
from .photographs import photograph
from .rooms import room


class Domain(NamedTuple):
    scenes: tuple
    camera: dict
    haze: object


DOMAINS = {
    "indoor": Domain((room,) * 5 + (photograph,), INDOORS, indoor_haze),
    "outdoor": Domain((street, landscape, street, landscape, street, photograph), OUTDOORS, outdoor_haze),
}
