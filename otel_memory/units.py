# SPDX-License-Identifier: Apache-2.0
"""Bytes, rates and percentages: read from text, written for people.

Malformed text raises `ValueError` with the text in the message.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

KIB = 1024
MIB = 1024**2
GIB = 1024**3

_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

# "Ki" is how Kubernetes writes KiB. A bare "K", "M" or "G" is refused: it is
# decimal to Kubernetes and binary to Docker, and a wrong limit is worse than none.
_BYTES_BY_UNIT = {
    "": 1,
    **{unit.lower(): 1024**power for power, unit in enumerate(_BINARY_UNITS)},
    **{f"{prefix}i": 1024 ** (n + 1) for n, prefix in enumerate("kmgtp")},
    **{f"{prefix}b": 1000 ** (n + 1) for n, prefix in enumerate("kmgtp")},
}

_SECONDS_BY_PERIOD = {"s": 1, "min": 60, "h": 3600, "d": 86400}

# At most 18 digits before the point: more is a mistake, and would not fit 64 bits.
_NUMBER = r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,18})?)"
_SIZE = re.compile(_NUMBER + r"\s*(?P<unit>[A-Za-z]*)", re.ASCII)
_PERCENTAGE = re.compile(_NUMBER + r"\s*%", re.ASCII)


def parse_bytes(text: str) -> int:
    """Read a size such as "512MiB", "1.5 GB", "2Gi" or "8388608".

    Returns:
        The size in bytes, rounded to a whole one.

    Raises:
        ValueError: The text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = match and _BYTES_BY_UNIT.get(match["unit"].lower())
    if not match or not factor:
        raise ValueError(f"{text!r} is not a size such as 512MiB, 1.5GB or 8388608")
    exact = Decimal(match["number"]) * factor
    return int(exact.to_integral_value(rounding=ROUND_HALF_UP))


def parse_rate(text: str) -> float:
    """Read a rate such as "50MiB/h"; periods are s, min, h and d.

    Returns:
        The rate in bytes per hour.

    Raises:
        ValueError: The text is not a rate.
    """
    size, _, period = text.partition("/")
    period_seconds = _SECONDS_BY_PERIOD.get(period.strip().lower())
    if period_seconds is not None:
        try:
            return parse_bytes(size) * 3600 / period_seconds
        except ValueError:
            pass  # The message must show the whole rate, not only its size.
    raise ValueError(f"{text!r} is not a rate such as 50MiB/h; periods: s, min, h, d")


def parse_percentage(text: str) -> float:
    """Read a percentage such as "80%".

    Returns:
        The fraction: 0.8 for "80%".

    Raises:
        ValueError: The text is not a percentage.
    """
    match = _PERCENTAGE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a percentage such as 80%")
    return float(Decimal(match["number"]) / 100)


def format_bytes(size_bytes: float, *, signed: bool = False) -> str:
    """Write a size as "118.9 MiB"; with `signed`, gains as "+1.2 MiB"."""
    magnitude = abs(size_bytes)
    for unit in _BINARY_UNITS:
        text = f"{magnitude:.0f} {unit}" if unit == "B" else f"{magnitude:.1f} {unit}"
        # 1023.97 KiB would round to "1024.0 KiB", hence not plainly "< 1024".
        if magnitude < (1023.5 if unit == "B" else 1023.95):
            break
        if unit != _BINARY_UNITS[-1]:
            magnitude /= 1024
    if text == "0 B":
        return text
    if size_bytes < 0:
        return f"-{text}"
    return f"+{text}" if signed else text


def format_rate(bytes_per_hour: float, *, signed: bool = False) -> str:
    """Write a rate as "50.0 MiB/h"."""
    return f"{format_bytes(bytes_per_hour, signed=signed)}/h"


def format_percentage(fraction: float) -> str:
    """Write a fraction as "80%", with one decimal where it is needed: "3.5%"."""
    text = f"{fraction * 100:.1f}"
    return f"{text.removesuffix('.0')}%"
