"""Networks: torch in, torch out."""

from .build import build_model, describe, restore, start_from
from .published import is_published, load_published, needs_text

__all__ = ["build_model", "describe", "is_published", "load_published", "needs_text", "restore", "start_from"]
