"""Zero-shot labels by CLIP: encoders and their weights, probabilities, CALIP's refinement.

May import torch and, inside functions, open_clip. Start reading at zero_shot.py.
"""

from .weights import identify
from .zero_shot import ZeroShot, build_encoder, load_encoder

__all__ = ["ZeroShot", "build_encoder", "identify", "load_encoder"]
