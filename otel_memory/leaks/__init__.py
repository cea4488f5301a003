# SPDX-License-Identifier: Apache-2.0
"""Whether a process leaks, and which spans bear what grows.

Pure functions of the series they are given: no clock, no thread, no chance, nothing
but the standard library. What is called `leaking` has grown on its floor for an hour
or more, beyond the two hours in which processes warm up; it has not slackened; and it
is more than chance, traffic or single steps explain, and worth somebody's time. What
grows and may have another reason is called `growing`.

docs/verdict.md has the rule with its formulae, the shapes it was tried on, and what
it cannot see.
"""

from __future__ import annotations

from otel_memory.leaks._assess import (
    GROWING,
    HORIZON_SECONDS,
    LEAKING,
    NOT_ENOUGH_DATA,
    STATES,
    STEADY,
    WARMING_UP,
    Assessment,
    assess,
)
from otel_memory.leaks._history import History
from otel_memory.leaks._inputs import SORTS_WITHOUT_SUSPECT, room_bytes
from otel_memory.leaks._suspects import Suspect, suspects

__all__ = [
    "GROWING",
    "HORIZON_SECONDS",
    "LEAKING",
    "NOT_ENOUGH_DATA",
    "SORTS_WITHOUT_SUSPECT",
    "STATES",
    "STEADY",
    "WARMING_UP",
    "Assessment",
    "History",
    "Suspect",
    "assess",
    "room_bytes",
    "suspects",
]
