"""Networks: torch in, torch out."""

from .build import build_model, describe, restore, start_from
from .published import is_published, load_published

__all__ = ["build_model", "describe", "is_published", "load_published", "restore", "start_from"]
