# SPDX-License-Identifier: Apache-2.0
"""Cells of the HTML report's tables: a text, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from otel_memory.cli.tables import duration, number, printable, size
from otel_memory.semconv import AGE_EDGES_SECONDS
from otel_memory.units import format_bytes, format_rate

UNKNOWN = "\N{EN DASH}"
"""Shown for what was not measured."""

_BAR_WIDTH = 100
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Segment(NamedTuple):
    """A part of a bar, in its own units; `step` chooses the colour."""

    x: float
    width: float
    step: int


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it shows.
        value: What it is sorted by; None comes last, in either direction.
        note: A second, smaller line.
        is_code: Set in a fixed pitch.
        copies: Identifiers to be copied, each with its label; below the rest.
        bar: A bar in place of the text, which is then its description.
    """

    text: str
    value: float | str | None = None
    note: str = ""
    is_code: bool = False
    copies: tuple[tuple[str, str], ...] = ()
    bar: tuple[Segment, ...] = ()


def visible(text: str) -> str:
    """Replace what no page can show: control characters, halves of a pair."""
    return "\n".join(printable(line, _REPLACEMENT) for line in text.split("\n"))


def age_labels() -> list[str]:
    """Name the parts that live bytes are split into by age."""
    younger = [f"< {_edge(seconds)}" for seconds in AGE_EDGES_SECONDS]
    return [*younger, "older"]


def _edge(seconds: int) -> str:
    for unit_seconds, unit in ((3600, "h"), (60, "min")):
        if seconds >= unit_seconds:
            return f"{seconds // unit_seconds} {unit}"
    return f"{seconds} s"


_AGE_PARTS = age_labels()


def _known(value: float | None, write: Callable[[Any], str]) -> Cell:
    return Cell(UNKNOWN if value is None else write(value), value)


def size_cell(size_bytes: int | None, *, signed: bool = False) -> Cell:
    """Show a size."""
    return _known(size_bytes, lambda known: size(known, signed=signed))


def rate_cell(bytes_per_hour: float | None) -> Cell:
    """Show a growth."""
    return _known(bytes_per_hour, lambda known: format_rate(known, signed=True))


def number_cell(count: int | None) -> Cell:
    """Show a count."""
    return _known(count, number)


def mean_cell(count: float | None) -> Cell:
    """Show a mean count, without decimals."""
    return _known(count, lambda known: f"{known:,.0f}")


def time_cell(seconds: float | None) -> Cell:
    """Show a time or an age."""
    return _known(seconds, duration)


def short_time_cell(seconds: float | None) -> Cell:
    """Show a time that may be of milliseconds."""
    return _known(
        seconds,
        lambda known: f"{known * 1e3:.0f} ms" if known < 1 else duration(known),
    )


def by_age_cell(parts_bytes: tuple[int, ...], most_bytes: int) -> Cell:
    """Draw a bar of bytes by age, the largest row being as wide as the column."""
    if not parts_bytes or not most_bytes:
        return Cell(UNKNOWN)
    segments, x = [], 0.0
    for step, part_bytes in enumerate(parts_bytes):
        width = _BAR_WIDTH * part_bytes / most_bytes
        if part_bytes:
            segments.append(Segment(round(x, 2), round(width, 2), step))
        x += width
    if not segments:
        return Cell(format_bytes(0), 0)
    described = ", ".join(
        f"{label}: {format_bytes(part_bytes)}"
        for label, part_bytes in zip(_AGE_PARTS, parts_bytes, strict=True)
        if part_bytes
    )
    # Old and large first.
    weight = sum(step * part_bytes for step, part_bytes in enumerate(parts_bytes))
    return Cell(described, weight, bar=tuple(segments))
