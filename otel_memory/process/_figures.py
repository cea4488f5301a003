# SPDX-License-Identifier: Apache-2.0
"""What readings consist of where they are more than one number."""

from __future__ import annotations

from typing import NamedTuple


class Resident(NamedTuple):
    """Resident memory of the process; anonymous is without file and shared pages."""

    rss_bytes: int
    anonymous_bytes: int | None


class Faults(NamedTuple):
    """Page faults of the process and its threads so far; major ones waited for a disk.

    They begin at zero in a forked child.
    """

    minor: int
    major: int


class LimitEvents(NamedTuple):
    """How often a container reached its limits so far; what is not told is `None`."""

    high: int | None
    max: int | None
    oom: int | None
    oom_kill: int | None


class Pressure(NamedTuple):
    """Time so far in which some, or all, tasks of the scope waited for memory."""

    scope: str
    some_seconds: float
    full_seconds: float | None


class Details(NamedTuple):
    """What only a walk over all of the process's mappings tells.

    Attributes:
        uss_bytes: What only this process holds.
        pss_bytes: With shared pages divided by the processes that share them.
        swap_bytes: What is swapped out.
    """

    uss_bytes: int | None
    pss_bytes: int | None
    swap_bytes: int | None
