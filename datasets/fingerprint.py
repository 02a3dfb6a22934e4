"""A split's fingerprint: two results with the same one are of the same images."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

DIGITS = 16  # of 64: enough that no two sets share them by chance


def fingerprint(pairs):
    """16 hexadecimal digits of the names and contents of all images of a Pairs, hazy and clear.

    The same for every copy of a split, wherever it lies and whether its files are links. Reads every file: about a
    second a gigabyte on two cores, once the disk has given it.
    """
    sides = ("hazy", pairs.hazy), ("GT", pairs.clear)
    files = [(side, listing.path(i)) for side, listing in sides for i in range(len(listing))]
    with ThreadPoolExecutor(8) as pool:  # hashlib and reading leave the other threads alone
        entries = pool.map(lambda file: entry(file[0], file[1].name, file[1].read_bytes()), files)
        return combine(entries)


def entry(side, name, content):
    """What the fingerprint takes in of one file. content: its bytes."""
    return f"{side}/{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n"


def combine(entries):
    """The fingerprint of entries in any order."""
    return hashlib.sha256("".join(sorted(entries)).encode()).hexdigest()[:DIGITS]
