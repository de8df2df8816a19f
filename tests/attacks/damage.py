"""Files damaged at random, by a seed: bits turned, bytes and sizes replaced, parts lost, doubled, swapped or noise."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

# Numbers and texts that parsers stumble over.
STRANGE = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        2**64,
        -(2**63),
        10**400,
        0.5,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
    ),
    *(
        "",
        "x",
        "\ud800",
        "\0",
        "a" * 10_000,
        "../../x",
        "$tensor",
        [],
        {},
        [[]],
        [None],
        {"$tensor": "x"},
        {"$tuple": 3},
    ),
    *({"": None}, [0] * 100, "float32", "1", {"kind": "weights"}, {"$float": "x"}, {"$dict": [[1]]}),
)

SIZES = (0, 1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One to four faults."""
    held = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(max(1, len(held)))
        length = min(chance.choice((1, 2, 4, 16, 200)), len(held) - place)
        match chance.randrange(9):
            case 0 if held:
                held[place] ^= 1 << chance.randrange(8)
            case 1:
                held[place : place + length] = chance.randbytes(length)
            case 2:
                del held[place : place + length]
            case 3:
                held[place:place] = held[place : place + length]
            case 4:
                held[place:place] = chance.randbytes(length)
            case 5:
                del held[place:]
            case 6:  # what stands in headers and footers are sizes and places
                place = chance.choice((place, place % 64, max(0, len(held) - 1 - place % 64)))
                size = chance.choice(SIZES) % 2 ** (8 * chance.choice((1, 2, 4, 8)))
                width = max(1, (size.bit_length() + 7) // 8)
                held[place : place + width] = size.to_bytes(width, chance.choice(("little", "big")))
            case 7 if len(held) > 2 * length > 0:
                other = chance.randrange(len(held) - length)
                part = held[place : place + length]
                held[place : place + length], held[other : other + length] = held[other : other + length], part
            case _:
                held[place : place + length] = chance.choice((b"\0", b"\xff", b"\x7f", b"9", b"-")) * length
    return bytes(held)


def strange_documents(document: Any, chance: random.Random, count: int) -> Iterator[Any]:
    """Copies of a JSON document with one to three places that hold something else, less, or more."""
    for _ in range(count):
        changed = json.loads(json.dumps(document))
        for _ in range(chance.randint(1, 3)):
            changed = _changed(changed, chance)
        yield changed


def _changed(value: Any, chance: random.Random) -> Any:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or chance.random() < 0.15:
        return chance.choice(STRANGE)
    key = chance.choice(keys)
    match chance.randrange(6):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[chance.choice(("x", "$tensor", "", key.upper()))] = value[key]
        case 1:
            value.append(value[key])
        case _:
            value[key] = _changed(value[key], chance)
    return value
