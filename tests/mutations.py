"""Seeded damage to files: flipped bits, lost and repeated parts, extreme numbers, archives whose checksums fit."""

import io
import zipfile

EXTREMES = [b"\0", b"\xff", b"\x7f", b"\x80", bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
EXTREMES += [bytes(8), b"\xff" * 8, b"\0\0\0\0\0\0\0\x40", b"-1", b"99999999999999999999", b"nan", b"1e999", b"%n%s"]
WORDS = [*",\"'\n\t\0:{}[]#é", "- ", "&a ", "*a", "!!", "<<", "nan", "inf", "-1"]


def flip(data, rng, first, last):
    for _ in range(rng.integers(1, 17)):
        data[rng.integers(first, last)] ^= 1 << int(rng.integers(8))


def overwrite(data, rng, first, last):
    for _ in range(rng.integers(1, 4)):
        place, value = rng.integers(first, last), EXTREMES[rng.integers(len(EXTREMES))]
        data[place : place + len(value)] = value


def cut(data, rng, first, last):
    del data[rng.integers(first, last) :]


def lose(data, rng, first, last):
    place = rng.integers(first, last)
    del data[place : place + rng.integers(1, 65)]


def repeat(data, rng, first, last):
    place, length = rng.integers(first, last), rng.integers(1, 65)
    data[place:place] = data[place : place + length] * int(rng.integers(1, 9))


def splice(data, rng, first, last):
    here, there, length = rng.integers(first, last), rng.integers(len(data)), rng.integers(1, 257)
    data[here : here + length] = data[there : there + length]


def insert(data, rng, first, last):
    place = rng.integers(first, last)
    data[place:place] = rng.bytes(rng.integers(1, 65))


DAMAGE = (flip, overwrite, cut, lose, repeat, splice, insert)


def mutate(data, rng):
    """Damage bytes anywhere, at the head (headers) or at the tail (an archive's directory)."""
    data = bytearray(data)
    size = len(data)
    first, last = [(0, size), (0, min(size, 64)), (max(size - 400, 0), size)][rng.integers(3)]
    DAMAGE[rng.integers(len(DAMAGE))](data, rng, first, last)
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
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED) as new:
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
