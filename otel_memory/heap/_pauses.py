# SPDX-License-Identifier: Apache-2.0
"""How often and how long the cyclic collector ran, where the core does not say.

What the collector calls is one function of this module, which raises nothing and
touches nothing but plain numbers. They are of this process: a forked child counts
from zero.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

from otel_memory.heap._rows import Collections

_GENERATIONS = 3

# Written by the callback only, and collections do not nest.
_counts = [0] * _GENERATIONS
_pause_ns = [0] * _GENERATIONS
_running: list[tuple[int, int]] = []  # at most one: (generation, when it started)

_users = 0
_watches_forks = False


def _on_collection(phase: str, info: dict[str, Any]) -> None:
    try:
        now_ns = time.perf_counter_ns()
        generation = info["generation"]
        if phase == "start":
            _running[:] = [(generation, now_ns)]
        elif _running:
            started_generation, started_ns = _running.pop()
            if started_generation == generation:
                _pause_ns[generation] += now_ns - started_ns
                _counts[generation] += 1
    except Exception:  # noqa: BLE001 - at the interpreter's end names are gone
        pass


def _reset() -> None:
    """Count anew; a collection that runs now is not ours, or began as the parent's."""
    _running.clear()
    for generation in range(_GENERATIONS):
        _counts[generation] = _pause_ns[generation] = 0


class Pauses:
    """What the collector did; it is followed while one of these is open."""

    def __init__(self) -> None:
        global _users, _watches_forks
        self._open = True
        _users += 1
        if _users == 1:
            _running.clear()  # the end of one that ran when we were taken out
            gc.callbacks.append(_on_collection)
        if not _watches_forks:
            _watches_forks = True
            os.register_at_fork(after_in_child=_reset)

    def collections(self) -> list[Collections]:
        """A row for each generation, without what was freed."""
        return [
            Collections(generation, count, pause_ns / 1e9, None)
            for generation, (count, pause_ns) in enumerate(
                zip(_counts, _pause_ns, strict=True)
            )
        ]

    def close(self) -> None:
        """Follow it no longer."""
        global _users
        if not self._open:
            return
        self._open = False
        _users -= 1
        if _users == 0 and _on_collection in gc.callbacks:
            gc.callbacks.remove(_on_collection)
