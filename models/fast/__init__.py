"""The same network in faster forms. May import the network's own files and torch; nothing else imports its inside.

Doors: `training_form` and `training_graph` (training.py), `inference_form` (proof.py), which return modules with the
plain network's outputs; `openvino_form` (openvino.py), the inference form whose U-Net OpenVINO runs; `export_program`
(exportable.py), the form that torch.export can follow. Each form is used after it has proven itself (proof.py); on
CUDA it runs Triton's kernels (kernels/) in CUDA graphs. Start reading at training_network.py.
"""

from .exportable import export_program
from .openvino import openvino_form
from .proof import inference_form, kernels_report, use_plain
from .training import training_form, training_graph
