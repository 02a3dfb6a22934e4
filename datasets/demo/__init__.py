"""Rendered scenes with their true depth, for the demo. May import numpy, OpenCV and scikit-image's pictures.

Doors: `room`, `street`, `landscape` (scenes.py), which draw on a canvas (canvas.py) with textures (textures.py).
"""

from .scenes import landscape, room, street

__all__ = ["landscape", "room", "street"]
