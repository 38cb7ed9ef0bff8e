"""Damage to recorded files, with a seed: what flash, power cuts, file systems and people do to them."""

import random

KINDS = ("random", "flipped", "zeroed", "cut", "hole", "appended", "joined")


def damaged(data: bytes, kind: str, rng: random.Random) -> bytes:
    size = len(data)
    at, length = rng.randrange(size // 4, size * 3 // 4), max(200, size // 12)
    if kind == "random":
        return data[:at] + rng.randbytes(length) + data[at + length :]
    if kind == "flipped":
        out = bytearray(data)
        for _ in range(40):
            out[rng.randrange(size // 10, size * 9 // 10)] ^= 1 << rng.randrange(8)
        return bytes(out)
    if kind == "zeroed":
        return data[:at] + bytes(length) + data[at + length :]
    if kind == "cut":
        return data[:at]
    if kind == "hole":
        return data[:at] + data[at + length :]
    if kind == "appended":
        return data + rng.randbytes(20_000)
    assert kind == "joined"
    return data + data
