"""Everything that changes during training and is saved in checkpoints."""

import copy
import math

import torch


class TrainingState:
    """A network, its optimiser, gradient scaler and average, and the counters of a run.

    step: number of steps taken. validated: the step of the last validation. best: the highest PSNR so far, dB.
    sums: {name: sum over the steps since the last report}, "num" of them.
    """

    def __init__(self, network, settings, device, describe):
        """network: on its device. settings: those of `train`. describe: gives what rebuilds a network."""
        self.network, self.describe = network, describe
        # fused, it takes GradScaler's flag of an overflow on the GPU, which otherwise is read there at every step
        weights, fused = network.parameters(), device.type == "cuda"
        self.optimizer = torch.optim.AdamW(weights, settings.lr, weight_decay=settings.weight_decay, fused=fused)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.average = Average(network, settings.ema) if settings.ema else None
        self.step, self.validated, self.best, self.sums = 0, 0, -math.inf, {}

    @property
    def evaluated(self):
        """The network to validate: the averaged one if the run keeps an average."""
        return self.average.module if self.average else self.network

    def add_gradients(self, sums):
        """Add the sums of a batch's earlier parts to the gradients, and return them: the sums for the next part.

        Autograd would add parameter by parameter, and to memory of a CUDA graph, which its next replay overwrites.
        """
        weights = [weight for weight in self.network.parameters() if weight.grad is not None]
        gradients = [weight.grad for weight in weights]
        sums = torch._foreach_add(gradients, sums) if sums else torch._foreach_mul(gradients, 1)
        for weight, total in zip(weights, sums, strict=True):
            weight.grad = total
        return sums

    def count(self, values):
        """Count a step. values: its {name: number}. Raises FloatingPointError where one is not finite.

        In fp16 GradScaler skips a step whose gradient overflows and lowers its scale; a scale below 1 is an error.
        """
        self.step += 1
        if self.scaler.is_enabled():
            values["skipped"] = float(not math.isfinite(values["gradient_norm"]))
            if values["skipped"] and self.scaler.get_scale() >= 1:
                values["gradient_norm"] = 0.0
        for name, value in {**values, "num": 1}.items():
            if not math.isfinite(value):
                remedy = "lower train.lr, or set train.clip=1 or train.precision=fp32"
                raise FloatingPointError(f"{name} is {value} at step {self.step}: {remedy}")
            self.sums[name] = self.sums.get(name, 0) + value

    def means(self):
        """The means of `values` since the last call."""
        sums, self.sums = self.sums, {}
        return {name: total / sums["num"] for name, total in sums.items() if name != "num"}

    def state_dict(self):
        """Everything as state dicts and plain Python."""
        return {
            "step": self.step,
            "validated": self.validated,
            "best": self.best,
            "sums": self.sums,
            "network": self.describe(self.network),
            "ema": self.average.module.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
        }

    def load_state_dict(self, saved):
        """Take over a checkpoint of the same settings. Raises ValueError where it does not fit."""
        try:
            self.network.load_state_dict(saved["network"]["state"])
            if self.average:
                self.average.module.load_state_dict(saved["ema"])
                self.average.num_updates = saved["step"]
            groups = self.optimizer.state_dict()["param_groups"]  # the learning rate is set at every step
            self.optimizer.load_state_dict({"state": saved["optimizer"]["state"], "param_groups": groups})
            self.scaler.load_state_dict(saved["scaler"])
            torch.set_rng_state(saved["random"])
            for name in ("step", "validated", "best", "sums"):
                setattr(self, name, saved[name])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError):
            raise ValueError("last.pt does not fit its own settings: move it away, or set run=NAME") from None


class Average:
    """An exponential moving average of a network's weights and BatchNorm statistics, in `module`.

    The decay rises from 0.1 as (1 + n) / (10 + n) to its full value, so that short runs are not held back by their
    first weights. (torch's AveragedModel counts on the device: reading that number stops the CPU twice a step.)
    """

    def __init__(self, network, decay):
        self.module, self.decay, self.num_updates = copy.deepcopy(network), decay, 0
        pairs = zip(self.module.state_dict().values(), network.state_dict().values(), strict=True)
        self.own, self.others = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)

    @torch.no_grad()
    def update(self):
        """Take in the network's weights, after every step."""
        n = self.num_updates
        rate = min(self.decay, (1 + n) / (10 + n)) if n else 0.0  # the first weights are taken as they are
        torch._foreach_lerp_(self.own, self.others, 1 - rate)
        self.num_updates += 1


def learning_rate(step, settings):
    """A linear rise over the warm-up, then a cosine to 1 % of the peak."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
