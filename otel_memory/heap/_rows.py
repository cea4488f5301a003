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

    def check(self) -> None:
        """See whether figures are still right; may turn the source to `lost`."""

    def close(self) -> None:
        """Stop attributing and sampling.

        Allocator hooks stay: others may have wrapped them since.
        """
