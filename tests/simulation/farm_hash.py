"""FARM_FINGERPRINT of GoogleSQL, so that the store puts a job into the shard that Spanner puts it into.

FarmHash's Fingerprint64 is fixed for all time by its authors (github.com/google/farmhash). This is its form
for up to 64 bytes; no id of ours is longer.
"""

from __future__ import annotations

from functools import lru_cache

_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
_MASK = (1 << 64) - 1


@lru_cache(maxsize=1 << 16)
def farm_fingerprint(text: str) -> int:
    """The fingerprint of the text's UTF-8 form, a signed 64-bit integer as SQL has it.

    Raises:
        ValueError: it is longer than 64 bytes.
    """
    data = text.encode()
    if len(data) > 64:
        raise ValueError("farm_fingerprint is made for up to 64 bytes.")
    value = _hash(data)
    return value - (1 << 64) if value >> 63 else value


def _hash(data: bytes) -> int:
    size = len(data)
    multiplier = _K2 + size * 2
    if size > 16:
        return _long(data, size, multiplier)
    if size >= 8:
        first = _word(data, 0) + _K2
        last = _word(data, size - 8)
        return _mix(
            _rotate(last, 37) * multiplier + first, (_rotate(first, 25) + last) * multiplier, multiplier
        )
    if size >= 4:
        return _mix(size + (_half(data, 0) << 3), _half(data, size - 4), multiplier)
    if size > 0:
        low = data[0] + (data[size >> 1] << 8)
        high = size + (data[-1] << 2)
        return _fold((low * _K2 ^ high * _K0) & _MASK) * _K2 & _MASK
    return _K2


def _long(data: bytes, size: int, multiplier: int) -> int:
    """17 to 64 bytes."""
    first = _word(data, 0) * (_K1 if size <= 32 else _K2)
    second = _word(data, 8)
    last = _word(data, size - 8) * multiplier
    tail = _rotate(first + second, 43) + _rotate(last, 30) + _word(data, size - 16) * _K2
    head = _mix(tail, first + _rotate(second + _K2, 18) + last, multiplier)
    if size <= 32:
        return head
    third = _word(data, 16) * multiplier
    fourth = _word(data, 24)
    fifth = (tail + _word(data, size - 32)) * multiplier
    sixth = (head + _word(data, size - 24)) * multiplier
    return _mix(
        _rotate(third + fourth, 43) + _rotate(fifth, 30) + sixth,
        third + _rotate(fourth + first, 18) + fifth,
        multiplier,
    )


def _mix(one: int, other: int, multiplier: int) -> int:
    folded = _fold((one ^ other) * multiplier & _MASK)
    return _fold((other ^ folded) * multiplier & _MASK) * multiplier & _MASK


def _fold(value: int) -> int:
    return value ^ value >> 47


def _rotate(value: int, bits: int) -> int:
    value &= _MASK
    return (value >> bits | value << 64 - bits) & _MASK


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _half(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
