# SPDX-License-Identifier: Apache-2.0
"""Make a summary's tables from every pair in every process: by span, by entry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from otel_memory import semconv
from otel_memory.recording.ages import ages_of
from otel_memory.recording.profile import PairKey, Stack
from otel_memory.recording.summary import Row, Suspect, add_known, largest_known

_SUSPECTS_MAX = 5

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Pair:
    """Figures of one pair in one process, and those of its stacks that are known."""

    key: PairKey
    count: int | None
    allocated_bytes: int | None
    peak_bytes: int | None
    live_bytes: int | None
    samples: int | None
    growth_bytes: int | None
    stacks: Sequence[Stack] = ()


def spans_of(pairs: list[Pair]) -> tuple[Row, ...]:
    """Sum pairs up by span name; bytes are self."""
    return _rows(pairs, _span_of, lambda pair: True)


def entries_of(pairs: list[Pair]) -> tuple[Row, ...]:
    """Sum pairs up by entry; bytes are inclusive, and the entry span is counted."""
    return _rows(pairs, _entry_of, _is_entry)


class _RowKey(NamedTuple):
    sort: str
    name: str
    kind: str


def _span_of(pair: Pair) -> _RowKey:
    return _RowKey(pair.key.sort, pair.key.span, pair.key.kind)


def _entry_of(pair: Pair) -> _RowKey:
    """Put a pair under its entry; what a span left behind belongs there too."""
    sort = pair.key.sort
    if sort == semconv.SORT_AFTER_END:
        sort = semconv.SORT_SPAN
    return _RowKey(sort, pair.key.entry, "")


def _is_entry(pair: Pair) -> bool:
    """Tell whether a pair is the entry span itself, which is what is counted."""
    return pair.key.span == pair.key.entry


def _rows(
    pairs: list[Pair],
    key_of: Callable[[Pair], _RowKey],
    is_counted: Callable[[Pair], bool],
) -> tuple[Row, ...]:
    groups = _group(pairs, key_of)
    rows = [
        _row(key, group, [pair for pair in group if is_counted(pair)])
        for key, group in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: _order(row.live_bytes, row.name)))


def _row(key: _RowKey, group: list[Pair], counted: list[Pair]) -> Row:
    kind = key.kind or next((pair.key.kind for pair in counted if pair.key.kind), "")
    count = add_known(pair.count for pair in counted)
    if count is None and any(pair.count is not None for pair in group):
        count = 0  # Spans are counted, and no entry span has completed yet.
    ages = ages_of([stack for pair in group for stack in _rated(pair, count)])
    return Row(
        sort=key.sort,
        name=key.name,
        kind=kind,
        count=count,
        allocated_bytes=add_known(pair.allocated_bytes for pair in group),
        peak_bytes_max=largest_known(pair.peak_bytes for pair in counted),
        live_bytes=add_known(pair.live_bytes for pair in group),
        live_samples=add_known(pair.samples for pair in group),
        growth_bytes=add_known(pair.growth_bytes for pair in group),
        age_mean_seconds=ages.mean_seconds,
        completed_mean=ages.completed_mean,
        live_bytes_by_age=ages.live_bytes_by_age,
    )


def _rated(pair: Pair, count: int | None) -> Iterable[Stack]:
    """Rate what has completed since by the row's spans, not by the pair's.

    An entry with 200 queries completes once while they complete 200 times; the rate
    over the whole run stands for the rate since.
    """
    if not count or not pair.count:
        return pair.stacks
    factor = count / pair.count
    return [
        stack
        if stack.completed_mean is None
        else replace(stack, completed_mean=stack.completed_mean * factor)
        for stack in pair.stacks
    ]


def suspects_of(pairs: list[Pair]) -> tuple[Suspect, ...]:
    """Rank user spans by live bytes; no verdict, and the report says so."""
    groups = _group(pairs, lambda pair: (pair.key.span, pair.key.entry, pair.key.sort))
    ranked = sorted(
        (-(add_known(pair.live_bytes for pair in group) or 0), span, entry)
        for (span, entry, sort), group in groups.items()
        if sort == semconv.SORT_SPAN
    )
    found = [
        Suspect(span, entry, live_bytes=-negative)
        for negative, span, entry in ranked
        if negative < 0
    ]
    return tuple(found[:_SUSPECTS_MAX])


def _group(pairs: list[Pair], key_of: Callable[[Pair], _Key]) -> dict[_Key, list[Pair]]:
    groups: dict[_Key, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[key_of(pair)].append(pair)
    return groups


def _order(live_bytes: int | None, name: str) -> tuple[bool, int, str]:
    return live_bytes is None, -(live_bytes or 0), name
