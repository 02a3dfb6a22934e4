"""Seeded damage to files: flipped bits, lost and repeated parts, extreme numbers, archives whose checksums fit."""

import io
import zipfile

EXTREMES = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff" * 8, b"-1", b"99999999999999999999", b"nan", b"1e999"]
WORDS = [*",;\"'\n\t\0:{}[]#é", "- ", "&a ", "*a", "!!", "<<", "nan", "inf", "-1"]


def mutate(data, rng):
    """Damage bytes anywhere, at the head (headers) or at the tail (an archive's directory)."""
    data, size = bytearray(data), len(data)
    first, last = [(0, size), (0, min(size, 64)), (max(size - 400, 0), size)][rng.integers(3)]
    place, length, value = rng.integers(first, last), rng.integers(1, 65), EXTREMES[rng.integers(len(EXTREMES))]
    piece = data[place : place + length]
    flipped = bytes(byte ^ 1 << int(rng.integers(8)) for byte in piece)
    changes = [(length, flipped), (len(value), value), (size, b""), (length, b""), (0, piece * 4)]
    cut, new = changes[rng.integers(len(changes))]
    data[place : place + cut] = new
    return bytes(data)


def mutate_archive(data, rng):
    """Damage an archive's bytes, or those of one member before it is packed again with checksums that fit."""
    if rng.random() < 0.4:
        return mutate(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    pickles = [name for name in members if name.endswith((".pkl", ".npy"))]
    chosen = pickles[rng.integers(len(pickles))] if rng.random() < 0.8 else list(members)[rng.integers(len(members))]
    members[chosen] = mutate(members[chosen], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return buffer.getvalue()


def mutate_text(data, rng):
    """Damage bytes, or put marks of the language where they do not belong."""
    if rng.random() < 0.3:
        return mutate(data, rng)
    text = data.decode()
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(text)))
        text = text[:place] + WORDS[rng.integers(len(WORDS))] + text[place + int(rng.integers(3)) :]
    return text.encode()
