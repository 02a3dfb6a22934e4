"""What stops a training, said with what to do about it. settings: the `train` settings."""

import math

from .distributed import world_size


def too_large(settings):
    """What to do where the GPU's memory is too small, in a line."""
    more_parts = settings.batch % (2 * settings.accumulate * world_size()) == 0
    remedies = ["set train.recompute=true"] * (not settings.recompute)
    remedies += [f"run a batch in more parts, train.accumulate={2 * settings.accumulate}"] * more_parts
    return (
        f"the GPU's memory is too small for train.batch={settings.batch} at train.crop={settings.crop}: "
        f"{', or '.join([*remedies, 'lower one of them'])}"
    )


def refuse_unequal_shares(settings, world):
    """Raise ValueError where the processes would get unequal shares of a batch."""
    if settings.batch % (world * settings.accumulate):
        parts = f"{world} process(es) in {settings.accumulate} part(s)"
        raise ValueError(f"train.batch={settings.batch} cannot be shared equally by {parts}: change train.batch")


def refuse_non_finite(values, step, names, settings):
    """Raise FloatingPointError naming the term, the step and the images when one of the {term: value} is no number.

    settings: the `train` settings, of which the message suggests those that are not so already.
    """
    for term, value in values.items():
        if not math.isfinite(value):
            remedies = ["lower train.lr"] + ["set train.clip=1"] * (settings.clip is None)
            remedies += ["use train.precision=bf16 or fp32"] * (settings.precision == "fp16")
            remedies += ["use train.precision=fp32"] * (settings.precision == "bf16")
            raise FloatingPointError(
                f"{term} is {value} at step {step}, images {', '.join(names)}: {' or '.join(remedies)}; "
                "the last checkpoint is from before, and another run=NAME can begin from it by model.init"
            )
