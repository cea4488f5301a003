# SPDX-License-Identifier: Apache-2.0
"""What a heap source tells."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Pair(NamedTuple):
    """The figures of one (entry, span) pair, or of a row that is no user span.

    Attributes:
        sort: Which sort of row this is, one of `semconv.SORTS`.
        name: The span's name, or the special row's.
        kind: `SERVER`, `INTERNAL`, ...; "" for special rows.
        entry: The name of the local root span; a special row's own name.
        count: Completed spans.
        allocated_bytes: Handed out while such a span itself was current.
        peak_bytes: The largest single span's peak in the last one to two minutes.
        live_bytes: Born in such spans and not freed; an unbiased estimate.
        live_samples: How many samples the estimate rests on.
    """

    sort: str
    name: str
    kind: str
    entry: str
    count: int  # type: ignore[assignment] # hides tuple.count, which nobody needs
    allocated_bytes: int
    peak_bytes: int
    live_bytes: int
    live_samples: int


class SampledStack(NamedTuple):
    """Live bytes of one row that were born at one stack.

    Attributes:
        sort: As in `Pair`, like `name`, `kind` and `entry`.
        frames: (file, line, function), the allocating frame first; empty where the
            bytes were allocated by native code that holds no Python stack.
        live_bytes: An unbiased estimate.
        samples: How many samples it rests on.
        age_seconds: Of the oldest of them.
        age_mean_seconds: By bytes.
        completed_mean: How many spans of this row have completed since; by bytes.
        live_bytes_by_age: Split at `semconv.AGE_EDGES_SECONDS`.
        trace_id: Of the newest sample that was born in a recorded span; 0 if none was.
        span_id: Likewise.
    """

    sort: str
    name: str
    kind: str
    entry: str
    frames: tuple[tuple[str, int, str], ...]
    live_bytes: int
    samples: int
    age_seconds: int
    age_mean_seconds: float
    completed_mean: float
    live_bytes_by_age: tuple[int, ...]
    trace_id: int
    span_id: int


class SamplerHealth(NamedTuple):
    """How the sampler does.

    Attributes:
        samples: Taken so far.
        dropped: That should have been taken, and could not.
        live_samples: In the table now.
        thinned: Given up to make room, with the others' weights raised.
        rate_bytes: R: one sample for each so many bytes, on average.
        memory_bytes: What samples, stacks, rows and spans' accounts take themselves.
        memory_bound_bytes: What they can take at most, with the spans open now.
    """

    samples: int
    dropped: int
    live_samples: int
    thinned: int
    rate_bytes: float
    memory_bytes: int
    memory_bound_bytes: int


class Collections(NamedTuple):
    """What the cyclic collector did in this process, of one generation.

    Attributes:
        generation: 0, 1 or 2; 2 is a full collection.
        count: Collections that were seen from start to end.
        pause_seconds: Time that they took.
        freed_bytes: What they gave back to the allocators, as counted in the thread
            that collected; None where that is not counted.
    """

    generation: int
    count: int  # type: ignore[assignment] # hides tuple.count, which nobody needs
    pause_seconds: float
    freed_bytes: int | None


class Entry(NamedTuple):
    """One entry span that has ended.

    Attributes:
        name: The span's name in the end.
        kind: As in `Pair`.
        peak_bytes: Its highest delta, children included.
        trace_id: 0 unless the span is recorded and sampled.
        span_id: Likewise.
        trace_flags: Likewise; 1 is sampled.
    """

    name: str
    kind: str
    peak_bytes: int
    trace_id: int
    span_id: int
    trace_flags: int


class HeapSource(Protocol):
    """Where heap figures come from.

    Attributes:
        name: `native`, `tracemalloc`, `off` or `lost`.
        reason: Why it is not what was asked for, in words for a human.
        native_covered: Whether `malloc` by native code counts too.
    """

    @property
    def name(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def native_covered(self) -> bool: ...

    def usage_bytes(self) -> int | None:
        """Bytes handed out and not given back; None where unknown."""

    def pairs(self) -> list[Pair]:
        """All rows; none where the source does not know spans."""

    def retire(self, pairs: list[Pair]) -> None:
        """Sum these rows into `(other)`."""

    def stacks(self, limit: int) -> list[SampledStack]:
        """The largest live stacks, largest first."""

    def health(self) -> SamplerHealth | None:
        """How the sampler does; None without one."""

    def completed(self) -> int | None:
        """Spans that have ended in this process; None where they are not counted."""

    def collections(self) -> list[Collections]:
        """What the collector did in this process, a row for each generation."""

    def take_entries(self) -> list[Entry]:
        """Entry spans that ended since the last call, oldest first.

        None are kept before the first call. A name is read by this call, so that
        it is the one that the span had in the end.
        """

    def entries_dropped(self) -> int:
        """Entry spans that ended when there was no room to keep them."""

    def check(self) -> None:
        """See whether figures are still right; may turn the source to `lost`."""

    def close(self) -> None:
        """Stop attributing and sampling.

        Allocator hooks stay: others may have wrapped them since.
        """
