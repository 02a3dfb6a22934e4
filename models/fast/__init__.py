"""The same network in faster forms, which prove themselves before they serve (proof.py). Imported by its doors alone.

Start reading at training_network.py (CUDA), training_cpu.py and inference_network.py. On CUDA the forms run Triton's
kernels (kernels/) in CUDA graphs. May import the network's own files and torch.
"""

from .inference import inference_form
from .proof import kernels_report, use_plain
from .training import training_form, training_graph
