# SPDX-License-Identifier: Apache-2.0
"""Write what a heap source holds now as the body of a profile event.

JSON rather than an event's structured body: half the size, and written by C code in
one go, where the encoders of OpenTelemetry go through every number in Python.
"""

from __future__ import annotations

import json
from typing import Any

from otel_memory import semconv
from otel_memory.heap import HeapSource, Pair, SampledStack

STACKS_MAX = 2_000
"""In a profile that is asked for or the last; a periodic one has fewer."""
PAIRS_MAX = 500

# Rows of spans; for the others nothing completes.
_COUNTED_SORTS = frozenset({semconv.SORT_SPAN, semconv.SORT_AFTER_END})


def take(
    source: HeapSource,
    stacks_max: int = STACKS_MAX,
    pairs: list[Pair] | None = None,
) -> str:
    """Read the source and write its live heap by row and by stack.

    Args:
        source: Where the figures come from.
        stacks_max: How many stacks at most, the largest first. What the rows hold
            beyond them is known from the rows.
        pairs: The rows, where they were read already.

    Returns:
        Compact JSON of the schema `semconv.PROFILE_SCHEMA`: frames once, stacks by
        their indices, allocating frame first. What is not known is null.
    """
    health = source.health()
    pairs = source.pairs() if pairs is None else pairs
    largest = sorted(pairs, key=lambda pair: -pair.live_bytes)[:PAIRS_MAX]
    frames: dict[tuple[str, int, str], int] = {}
    stacks = [_stack(stack, frames) for stack in source.stacks(stacks_max)]
    body = {
        "schema": semconv.PROFILE_SCHEMA,
        "rate_bytes": None if health is None else health.rate_bytes,
        "frames": list(frames),
        "pairs": [_pair(pair, live_is_known=health is not None) for pair in largest],
        "stacks": stacks,
    }
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    # Half a surrogate pair, of a path that is no UTF-8, is nothing to protobuf; JSON
    # writes it with the same escape as Python.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _pair(pair: Pair, *, live_is_known: bool) -> dict[str, Any]:
    return {
        "sort": pair.sort,
        "span": pair.name,
        "kind": pair.kind,
        "entry": pair.entry,
        "count": pair.count,
        "allocated_bytes": pair.allocated_bytes,
        "live_bytes": pair.live_bytes if live_is_known else None,
        "live_samples": pair.live_samples if live_is_known else None,
    }


def _stack(
    stack: SampledStack, frames: dict[tuple[str, int, str], int]
) -> dict[str, Any]:
    row = {
        "sort": stack.sort,
        "span": stack.name,
        "kind": stack.kind,
        "entry": stack.entry,
        "frames": [frames.setdefault(frame, len(frames)) for frame in stack.frames],
        "live_bytes": stack.live_bytes,
        "samples": stack.samples,
    }
    if stack.live_bytes_by_age:
        is_counted = stack.sort in _COUNTED_SORTS
        row |= {
            "age_seconds": stack.age_seconds,
            "age_mean_seconds": round(stack.age_mean_seconds, 1),
            "completed_mean": round(stack.completed_mean, 1) if is_counted else None,
            "live_bytes_by_age": stack.live_bytes_by_age,
        }
    if stack.span_id:
        row["trace_id"] = f"{stack.trace_id:032x}"
        row["span_id"] = f"{stack.span_id:016x}"
    return row
