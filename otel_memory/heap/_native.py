# SPDX-License-Identifier: Apache-2.0
"""Heap figures from the counting core."""

from __future__ import annotations

import atexit
import os
from importlib import _bootstrap
from typing import Any

from otel_memory import semconv
from otel_memory.heap import _core
from otel_memory.heap._rows import Collections, Entry, Pair, SampledStack, SamplerHealth

KIND_WORDS = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""By the value of OpenTelemetry's SpanKind, which is the core's index."""

LOST = (
    "another tool took the allocator hooks out (tracemalloc.stop() does, when "
    "tracemalloc was started first); restart the process without it"
)

_watches_the_end = False


def install() -> str | None:
    """Hook the allocators, once in the life of a process.

    Returns:
        None, or why it cannot be.
    """
    global _watches_the_end
    bootstrap: Any = _bootstrap  # its frames are what marks an import
    reason = _core.install(bootstrap._find_and_load.__code__)
    if reason is None and not _watches_the_end:
        _watches_the_end = True
        atexit.register(_core.finalize)
        os.register_at_fork(after_in_child=_core.after_fork_in_child)
    return reason


def _name_and_kind(sort: str, name: str, kind: int) -> tuple[str, str]:
    if sort == semconv.SORT_AFTER_END:
        return semconv.after_end_row(name), KIND_WORDS[kind]
    return name, KIND_WORDS[kind] if sort == semconv.SORT_SPAN else ""


class NativeSource:
    """The counting core, switched on."""

    native_covered = False

    def __init__(self, *, sampling: bool) -> None:
        self.name = semconv.SOURCE_NATIVE
        self.reason: str | None = None
        self._sampling = sampling
        self._entries_wanted = False
        _core.set_attributing(True)
        _core.set_sampling(sampling)

    def usage_bytes(self) -> int | None:
        """Bytes in use since the hooks went in; None once they are lost."""
        if self._is_lost():
            return None
        return max(_core.totals()[0], 0)

    def pairs(self) -> list[Pair]:
        """All rows."""
        if self._is_lost():
            return []
        return [
            Pair(sort, *_name_and_kind(sort, name, kind), entry, *figures)
            for sort, name, kind, entry, *figures in _core.pairs()
        ]

    def retire(self, pairs: list[Pair]) -> None:
        """Sum these rows into `(other)`."""
        for pair in pairs:
            if pair.sort in (semconv.SORT_SPAN, semconv.SORT_AFTER_END):
                name = pair.name
                if pair.sort == semconv.SORT_AFTER_END:
                    name = name.removesuffix(semconv.AFTER_END_SUFFIX)
                kind = KIND_WORDS.index(pair.kind)
                _core.retire_pair(pair.sort, name, kind, pair.entry)

    def stacks(self, limit: int) -> list[SampledStack]:
        """The largest live stacks."""
        if self._is_lost():
            return []
        return [
            SampledStack(sort, *_name_and_kind(sort, name, kind), entry, frames, *rest)
            for sort, name, kind, entry, frames, *rest in _core.stacks(limit)
        ]

    def health(self) -> SamplerHealth | None:
        """How the sampler does."""
        if not self._sampling or self._is_lost():
            return None
        health = _core.health()
        return SamplerHealth(*(health[field] for field in SamplerHealth._fields))

    def completed(self) -> int | None:
        """Spans that have ended in this process, recorded or not."""
        return _core.completed()

    def collections(self) -> list[Collections]:
        """What the collector did in this process."""
        is_lost = self._is_lost()
        return [
            Collections(generation, count, seconds, None if is_lost else freed_bytes)
            for generation, count, seconds, freed_bytes in _core.collections()
        ]

    def take_entries(self) -> list[Entry]:
        """Entry spans that ended since the last call; they are kept from the first."""
        if not self._entries_wanted:
            self._entries_wanted = True
            _core.set_entries(True)
        return [
            Entry(name, KIND_WORDS[kind], *figures)
            for name, kind, *figures in _core.take_entries()
        ]

    def entries_dropped(self) -> int:
        """Those that found no room."""
        return _core.entries_dropped()

    def check(self) -> None:
        """Allocate a probe in each domain: it must be counted."""
        if not _core.probe():
            _core.mark_lost()
        self._is_lost()

    def _is_lost(self) -> bool:
        if self.reason is None and _core.is_lost():
            self.name, self.reason = semconv.SOURCE_LOST, LOST
        return self.reason is not None

    def close(self) -> None:
        """Charge no span any more, and take no samples."""
        _core.set_sampling(False)
        _core.set_attributing(False)
        self._entries_wanted = True  # a late caller shall not turn them on again
        _core.set_entries(False)
        _core.forget_spans()
