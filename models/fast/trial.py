"""Whether Triton's kernels run on a device."""

from functools import cache
from importlib.util import find_spec


def triton_runs(x):
    """Whether Triton's kernels serve a map."""
    return x.is_cuda and _has_triton()


@cache
def _has_triton():
    return find_spec("triton") is not None
