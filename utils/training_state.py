"""What of a training changes from step to step, and goes into its checkpoints."""

import math

import torch

from .averaging import Average


class TrainingState:
    """A network and all that steps it.

    step: steps that are done. validated: the step of the last validation. best: its highest PSNR so far, dB.
    sums: {name: sum over the steps since the last report}, "num" of them.
    """

    def __init__(self, network, settings, device):
        """network: in its training form, on its device. settings: those of `train`."""
        self.network = network
        # fused, it takes GradScaler's flag of an overflow on the GPU, which otherwise is read there at every step
        weights, fused = network.parameters(), device.type == "cuda"
        self.optimizer = torch.optim.AdamW(weights, settings.lr, weight_decay=settings.weight_decay, fused=fused)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.average = Average(network, settings.ema) if settings.ema else None
        self.step, self.validated, self.best, self.sums = 0, 0, -math.inf, {}

    @property
    def evaluated(self):
        """The network that is validated: of averaged weights, where the run keeps an average."""
        return self.average.module if self.average else self.network

    def count(self, values):
        """Count a step that was made. values: its {name: number}."""
        self.step += 1
        for name, value in {**values, "num": 1}.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def means(self):
        """The means of `values` since the last call."""
        sums, self.sums = self.sums, {}
        return {name: total / sums["num"] for name, total in sums.items() if name != "num"}

    def plain(self):
        """Everything as state dicts and plain Python, but the network."""
        return {
            "step": self.step,
            "validated": self.validated,
            "best": self.best,
            "sums": self.sums,
            "ema": self.average.module.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
        }

    def put_back(self, saved):
        """Take over a checkpoint that `run_folder.read_training` read. Raises ValueError where it does not fit."""
        try:
            self.network.load_state_dict(saved["network"]["state"])
            if self.average:
                self.average.module.load_state_dict(saved["ema"])
                self.average.num_updates = saved["step"]
            groups = self.optimizer.state_dict()["param_groups"]  # of the same settings; the rate is set every step
            self.optimizer.load_state_dict({"state": saved["optimizer"]["state"], "param_groups": groups})
            self.scaler.load_state_dict(saved["scaler"])
            torch.set_rng_state(saved["random"])
            moments = self.optimizer.state.items()  # none, where fp16 has skipped every step so far
            fit = len(moments) in (0, len(list(self.network.parameters()))) and all(
                weight.shape == both["exp_avg"].shape == both["exp_avg_sq"].shape for weight, both in moments
            )
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError):  # of a file that somebody has changed
            fit = False
        if not fit:
            raise ValueError("the last checkpoint does not fit its own settings: move it away, or set run=NAME")
        self.step, self.validated, self.best, self.sums = (
            saved[name] for name in ("step", "validated", "best", "sums")
        )


def learning_rate(step, settings):
    """A linear rise over the warm-up, then a cosine to 1 % of the peak."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
