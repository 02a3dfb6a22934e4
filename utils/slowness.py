"""What makes a CPU many times slower than it could be, in a line for each."""

import os

import torch

from .distributed import rank


def tell_of_slowness(device, precision):
    """Print a line where a CPU has no instructions for the precision, or where others keep its cores busy."""
    if device.type != "cpu" or rank():
        return
    has = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", None)  # none for fp32, none without oneDNN
    if has and not has():
        print(f"note: this CPU has no instructions for {precision}: fp32 can be ten times as fast")
    if torch.get_num_threads() > 1 and os.getloadavg()[0] > 1.5 * os.cpu_count():
        print("note: other processes keep this machine busy: OMP_NUM_THREADS=1 can be many times as fast")
