"""Damage to files, as crashes, disks and downloads do it: the same for the same seed."""

import random


def damaged(content: bytes, seed: int) -> bytes:
    """Flip, cut, repeat or overwrite bytes of a file."""
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(6):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + draw.randrange(1, 9)]
            case 2:
                data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
            case 3:
                data[at:at] = data[at : at + draw.randrange(1, 99)]
            case 4:
                data[at : at + 4] = b"\xff\xff\xff\x7f"
            case _ if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
    return bytes(data)
