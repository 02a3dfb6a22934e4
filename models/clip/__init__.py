"""Zero-shot labels by CLIP: encoders and their weights, class probabilities, CALIP's refinement.

May import torch, models.build, utils.files and, inside functions, open_clip (it brings timm and torchvision along).
Start reading at zero_shot.py.
"""

from .encoder import build_encoder, identify, load_encoder
from .zero_shot import ZeroShot
