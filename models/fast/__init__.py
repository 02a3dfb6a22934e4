"""The same network in faster forms. May import the network's own files and torch; nothing else imports its inside.

Doors: `training_form` and `training_graph` (training.py), and `inference_form` (inference.py), which return modules
with the plain network's outputs. Each form is used after it has proven itself (proof.py); on CUDA it runs Triton's
kernels (kernels/) in CUDA graphs. Start reading at training_network.py and inference_network.py.
"""

from .inference import inference_form
from .proof import kernels_report, use_plain
from .training import training_form, training_graph
