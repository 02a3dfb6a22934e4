"""Published sets, known by their structure: how many pairs their splits have."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """train, test: numbers of pairs. allowed: kinds of defects that are none in this set."""

    name: str
    train: int
    test: int
    allowed: tuple = ()
    remark: str = ""


KNOWN = (
    # 3,000 of its pairs are ITS', which has 1,399 clear images, and the training names do not tell the scene.
    Known("RESIDE-6K", 6000, 1000, ("repeated",)),
    Known("RESIDE-IN", 13_990, 500, remark=" (ITS and SOTS indoor)"),
    Known("RESIDE-OUT", 313_950, 500, remark=" (the larger OTS and SOTS outdoor)"),
    Known("RESIDE-OUT", 72_135, 500, remark=" (the smaller OTS and SOTS outdoor)"),
    Known("RS-HAZE", 51_300, 2700),
    Known("Haze4K", 3000, 1000),
    Known("Dense-Haze", 50, 5, remark=" or NH-Haze"),
    Known("NH-Haze", 50, 5, remark=" or Dense-Haze"),
    Known("O-HAZE", 40, 5),
    Known("I-HAZE", 30, 5),
)
NUM_RENDERED_TEST, RENDERED_SIZE = 40, (160, 224)  # of this project's scenes: some have no haze to train on, on purpose


def known_set(folder, train, test, sizes):
    """The Known set with these numbers of pairs, or None; of several the one that the folder is named after.

    sizes: the (height, width) that occur.
    """
    if train and test == NUM_RENDERED_TEST and set(sizes) == {RENDERED_SIZE}:
        return Known("this project's rendered scenes", train, test, ("identical",))
    found = [known for known in KNOWN if (known.train, known.test) == (train, test)]
    return min(found, key=lambda known: known.name.lower() != folder.lower(), default=None)


def training_pairs(folder):
    """How many training pairs the published set of that name has; 0 for another name."""
    return next((known.train for known in KNOWN if known.name == folder), 0)
