"""Networks: torch in, torch out."""

from .build import build_model, describe, restore, start_from
from .inference import inference_form
from .published import is_published, load_published, needs_text
from .training import training_form

__all__ = [
    "build_model",
    "describe",
    "inference_form",
    "is_published",
    "load_published",
    "needs_text",
    "restore",
    "start_from",
    "training_form",
]
