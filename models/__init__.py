"""Networks: torch in, torch out. Read mixdehazenet.py first, then fusion.py; fast/ and clip/ are rooms of their own."""

from .build import build_model, describe, restore, start_from
from .export import export_program
from .fast import inference_form, kernels_report, training_form, training_graph, use_plain
from .published import is_published, load_published, needs_text, network_of
