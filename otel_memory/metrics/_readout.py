# SPDX-License-Identifier: Apache-2.0
"""What the metrics read from, and which names have series of their own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from otel_memory.config import MemoryConfig
from otel_memory.findings import Findings
from otel_memory.heap import HeapSource, Pair
from otel_memory.heap._admission import Admission
from otel_memory.process import Readings, open_readings

# Of the process, like the core's counts: both go on after `uninstrument()`, or
# (other) would fall. The lock is for those who read rows at once: readers that
# collect, and the watcher.
_admission = Admission(0)
_lock = threading.Lock()
_LOCK_SECONDS = 1.0


@contextmanager
def _alone() -> Iterator[bool]:
    """Give whether nobody else is at it.

    False after a second, and not a wait for ever: a finaliser or a signal handler
    that runs meanwhile, in the same thread, may collect metrics.
    """
    lock = _lock
    is_alone = lock.acquire(timeout=_LOCK_SECONDS)
    try:
        yield is_alone
    finally:
        if is_alone:
            lock.release()


def _count_anew() -> None:
    """In a forked child: counts are from zero, and nobody will release the lock."""
    global _admission, _lock
    _admission, _lock = Admission(_admission.max_names), threading.Lock()


os.register_at_fork(after_in_child=_count_anew)


class Readout:
    """What the callbacks read from. One per `instrument()`.

    Args:
        source: Where heap figures come from.
        config: The settings.
        findings: What the watcher found out.
    """

    def __init__(
        self, source: HeapSource, config: MemoryConfig, findings: Findings
    ) -> None:
        self.source = source
        self.config = config
        self.findings = findings
        self.readings: Readings = open_readings()
        self._pairs: list[Pair] = []
        _admission.max_names = config.max_span_names

    def refresh_pairs(self) -> list[Pair]:
        """Read the rows anew, for the first of the instruments that show them."""
        with _alone() as is_alone:
            if is_alone:
                self._pairs, retirable = _admission.admit(self.source.pairs())
                self.source.retire(retirable)
            return self._pairs

    def pairs(self) -> list[Pair]:
        """The rows as last read, so that instruments of one collection agree."""
        return self._pairs

    def names_count(self) -> int:
        """How many names have series of their own."""
        return _admission.names_count

    def refused_count(self) -> int:
        """How many names wanted one, and found no room."""
        return _admission.refused_count

    def admitted(self, names: Iterable[str]) -> set[str]:
        """Give those of some names that have series of their own.

        A name that matters by now is admitted first, however long ago the last
        collection was.
        """
        wanted = set(names)
        with _alone() as is_alone:
            if is_alone and not all(map(_admission.knows, wanted)):
                _admission.learn(self.source.pairs())
            return set(filter(_admission.knows, wanted))


class Moment(Readout):
    """A readout apart from the instruments', whose rows are given."""

    def __init__(self, readout: Readout, pairs: list[Pair]) -> None:
        self.source, self.config = readout.source, readout.config
        self.findings = readout.findings
        self.readings, self._pairs = readout.readings, pairs

    def refresh_pairs(self) -> list[Pair]:
        """The rows that were given."""
        return self._pairs
