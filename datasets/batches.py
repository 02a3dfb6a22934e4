"""Batches of samples on a device, made by processes that decode images."""

import os
import signal

import torch
from torch.utils.data import DataLoader, default_collate


class Batches:
    """The batches of TrainingSamples or EvaluationSamples in a given order, on a device.

    Each is {"hazy", "clear": B x 3 x H x W in [-1, 1], "prob": B x K, ...}: the samples' with a batch dimension.
    workers: as in `num_workers`; 0: this process decodes the images.
    """

    def __init__(self, dataset, order, device, workers):
        self.dataset, self.device = dataset, device
        self.loader = DataLoader(
            dataset,
            batch_sampler=order,
            num_workers=num_workers(workers),
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # torch's own, whose state is saved, is left alone
        )

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        # Terminals and schedulers signal the workers, too, but the main process needs them to finish its step: they
        # keep the mask that they are started with. torch's handler of SIGCHLD would raise in any place, such as where
        # another worker is forked, and be lost there; the loader itself finds a dead worker within five seconds.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            return map(self.moved, iter(self.loader))
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def of_one(self, index):
        """A batch of one sample."""
        return self.moved(default_collate([self.dataset[index]]))

    def moved(self, batch):
        return {k: v.to(self.device, non_blocking=True) if torch.is_tensor(v) else v for k, v in batch.items()}


def num_cores():
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # not on macOS


def num_workers(wanted):
    """The setting data.workers as a number; None: this process's share of the machine's cores, at most 8."""
    share = num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # torchrun's number of processes here
    return max(1, min(8, share)) if wanted is None else wanted
