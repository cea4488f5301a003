# SPDX-License-Identifier: Apache-2.0
"""Read numbers that may be missing or malformed; then they are None, never 0."""

from __future__ import annotations

import math
from typing import Any

# What OTLP and the C core count in.
_BYTES_MAX = 2**63 - 1


def whole_number(value: Any) -> int | None:
    """Read an integer that may be written as a string."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def finite_number(value: Any) -> float | None:
    """Read a number that is neither infinite nor "not a number"."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def signed_size(value: Any) -> int | None:
    """Read a difference of sizes, which fits into 64 bits."""
    number = None if isinstance(value, bool) else whole_number(value)
    return None if number is None or abs(number) > _BYTES_MAX else number


def size(value: Any) -> int | None:
    """Read a size, a count or an age: not negative, and fits into 64 bits."""
    number = signed_size(value)
    return None if number is None or number < 0 else number


def mean(value: Any) -> float | None:
    """Read a mean of sizes, counts or ages."""
    number = None if isinstance(value, bool) else finite_number(value)
    return None if number is None or number < 0 else number
