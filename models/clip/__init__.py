"""Zero-shot labels by CLIP: encoders and their weights, class probabilities, CALIP's refinement.

May import torch, models.build, utils.files and, inside functions, open_clip (it brings timm and torchvision along).
Start reading at zero_shot.py.
"""

from .encoder import build_encoder, load_encoder
from .weights import identify
from .zero_shot import ZeroShot
