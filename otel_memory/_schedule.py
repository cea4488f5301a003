# SPDX-License-Identifier: Apache-2.0
"""Which task is due when. No thread, and no clock but the one that is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from otel_memory import _guard


class Task:
    """Something done again and again.

    Args:
        place: Names it in the log, where it fails.
        every_seconds: Between two times.
        run: Does it.
        first_seconds: Until the first time, if that is another time.
    """

    def __init__(
        self,
        place: str,
        every_seconds: float,
        run: Callable[[], object],
        first_seconds: float | None = None,
    ) -> None:
        self.place = place
        self.every_seconds = every_seconds
        self.run = run
        self.first_seconds = every_seconds if first_seconds is None else first_seconds


class Schedule:
    """Tasks and when they are due. One that fails leaves the others alone.

    Args:
        tasks: In the order in which those are run that are due together.
        now: By the clock.
    """

    def __init__(self, tasks: Sequence[Task], now: float) -> None:
        self._tasks = tasks
        self._due = [now + task.first_seconds for task in tasks]

    def next_due(self) -> float:
        """Tell when there will be something to do."""
        return min(self._due)

    def run_due(self, now: float) -> None:
        """Do what is due; what was missed meanwhile is done once."""
        for number, task in enumerate(self._tasks):
            if self._due[number] > now:
                continue
            self._due[number] = now + task.every_seconds
            with _guard.guard(task.place):
                task.run()
