"""The same network in faster forms. May import the network's own files and torch; nothing else imports its inside.

Doors: `training_form` and `inference_form` (proof.py), which return modules with the plain network's outputs;
`openvino_form` (openvino.py), the inference form whose U-Net OpenVINO runs; `export_program` (exportable.py), the form
that torch.export can follow. Start reading at training.py.
"""

from .exportable import export_program
from .layout import form_pays
from .openvino import openvino_form
from .proof import inference_form, training_form
from .trial import kernels_report, use_plain
