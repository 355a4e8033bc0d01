"""Inputs from seeds, the same for the same random numbers."""

from collections.abc import Iterator
from random import Random

TOKENS = [b"\0", b"\n", b"\r\n", b'"', b"{", b"[", b"-", b"=", b":", b"\xff", b"\xc3\xa4", b"\xe2\x80\xae"]


def mutations(seeds: list[bytes], random: Random) -> Iterator[bytes]:
    """The seeds, then what a few cuts, copies and insertions make of them, without end."""
    yield b""
    yield from seeds
    while True:
        data = bytearray(random.choice(seeds))
        for _ in range(random.choice((1, 1, 2, 4, 16))):
            _mutate(data, seeds, random)
        yield bytes(data)


def _mutate(data: bytearray, seeds: list[bytes], random: Random) -> None:
    at = random.randint(0, len(data))
    end = min(len(data), at + random.choice((1, 2, 8, 64)))
    match random.randrange(6):
        case 0:
            data[at:at] = random.randbytes(random.choice((1, 4, 32)))
        case 1:
            data[at:end] = b""
        case 2:
            data[at:at] = data[at:end] * random.choice((1, 2, 50))
        case 3:
            data[at:at] = random.choice(TOKENS)
        case 4:
            data[at:end] = random.choice(TOKENS)
        case _:
            other = random.choice(seeds)
            start = random.randint(0, len(other))
            data[at:at] = other[start : start + random.choice((1, 8, 64))]
