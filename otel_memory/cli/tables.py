# SPDX-License-Identifier: Apache-2.0
"""The tables of a terminal: which columns there are, and how they fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_memory.recording.summary import Process, Site, Summary
from otel_memory.semconv import (
    SOURCE_LOST,
    SOURCE_NATIVE,
    SOURCE_OFF,
    SOURCE_TRACEMALLOC,
)
from otel_memory.units import format_bytes, format_rate

if TYPE_CHECKING:
    from rich.table import Table

UNKNOWN = "-"
"""Shown for what was not measured."""

_WIDE_COLUMNS = 100
_INDENT_COLUMNS = 2

STATE_TITLES = {
    "not-enough-data": "Too early to tell",
    "warming-up": "Warming up",
    "steady": "Steady",
    "growing": "Growing",
    "leaking": "Leaking",
}
"""What people read of a verdict, who need not know its names."""

NO_VERDICT_SENTENCE = (
    "Rows are ranked by live bytes, which is not a verdict: a cache that fills looks "
    "like a leak until it has been watched for long enough."
)
"""Said wherever rows are ranked without one."""


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        title: Its heading.
        cell: Writes the cell of one row.
        is_name: Text of any length, which is cut where there is no room.
        shorter: Write the cell where there is little room, each shorter than the last.
        is_wide: Shown in wide terminals only.
    """

    title: str
    cell: Callable[[Any], str]
    is_name: bool = False
    shorter: tuple[Callable[[Any], str], ...] = ()
    is_wide: bool = False


def size(size_bytes: int | None, *, signed: bool = False) -> str:
    """Write a size, or that it was not measured."""
    return UNKNOWN if size_bytes is None else format_bytes(size_bytes, signed=signed)


def rate(bytes_per_hour: float | None) -> str:
    """Write a growth; nothing where there is no verdict on it."""
    return "" if bytes_per_hour is None else format_rate(bytes_per_hour, signed=True)


def number(count: int | None) -> str:
    """Write a count, or that it was not measured."""
    return UNKNOWN if count is None else f"{count:,}"


def age(seconds: float | None) -> str:
    """Write an age, or that it was not measured."""
    return UNKNOWN if seconds is None else duration(seconds)


def _covered(process: Process) -> str:
    words = {None: UNKNOWN, True: "yes", False: "no"}
    return words[process.native_covered]


def _lacks_native(process: Process) -> bool:
    return process.heap_source == SOURCE_NATIVE and process.native_covered is False


def place_of(site: Site) -> str:
    """Write where a site is, with its function."""
    line = "" if site.line is None else f":{site.line}"
    function = "" if site.function is None else f" {site.function}"
    return f"{site.file}{line}{function}"


def _short_place(site: Site) -> str:
    return place_of(replace(site, function=None))


def _shortest_place(site: Site) -> str:
    name = PurePath(site.file).name
    return _short_place(site if name == site.file else replace(site, file=f"…/{name}"))


def _of_site(line: Any, place: Callable[[Site], str]) -> str:
    return UNKNOWN if line.site is None else place(line.site)


PROCESS_COLUMNS = (
    Column("PID", lambda process: UNKNOWN if process.pid is None else str(process.pid)),
    Column("RSS start", lambda process: size(process.rss_start_bytes)),
    Column("Peak", lambda process: size(process.rss_peak_bytes)),
    Column("End", lambda process: size(process.rss_end_bytes)),
    Column("Limit", lambda process: size(process.limit_bytes)),
    Column("Source", lambda process: process.heap_source or UNKNOWN),
    Column("Native", _covered),
    Column("Ended", lambda process: process.ended),
)
ROW_COLUMNS = (
    Column("Name", lambda row: row.name, is_name=True),
    Column("Kind", lambda row: row.kind, is_wide=True),
    Column("Count", lambda row: number(row.count)),
    Column("Allocated", lambda row: size(row.allocated_bytes)),
    Column("Peak", lambda row: size(row.peak_bytes_max)),
    Column("Live", lambda row: size(row.live_bytes)),
    Column("Samples", lambda row: number(row.live_samples), is_wide=True),
    Column("Growth", lambda row: size(row.growth_bytes, signed=True)),
)
SITE_COLUMNS = (
    Column("Site", place_of, is_name=True, shorter=(_short_place, _shortest_place)),
    Column("Span", lambda site: site.span, is_name=True),
    Column("Entry", lambda site: site.entry, is_name=True, is_wide=True),
    Column("Live", lambda site: size(site.live_bytes)),
    Column("Samples", lambda site: number(site.samples), is_wide=True),
    Column("Growth", lambda site: size(site.growth_bytes, signed=True)),
    Column("Age", lambda site: age(site.age_mean_seconds), is_wide=True),
)
SUSPECT_COLUMNS = (
    Column("Span", lambda line: line.span, is_name=True),
    Column("Entry", lambda line: line.entry, is_name=True, is_wide=True),
    Column("Growth", lambda line: rate(line.growth_bytes_per_hour)),
    Column("Live", lambda line: size(line.live_bytes)),
    Column(
        "Site",
        lambda line: _of_site(line, place_of),
        is_name=True,
        shorter=(
            lambda line: _of_site(line, _short_place),
            lambda line: _of_site(line, _shortest_place),
        ),
    ),
)
PACKAGE_COLUMNS = (
    Column("Package", lambda package: package.package, is_name=True),
    Column("Live", lambda package: size(package.live_bytes)),
    Column("Importing", lambda package: size(package.import_bytes)),
    Column("Samples", lambda package: number(package.samples), is_wide=True),
    Column("Growth", lambda package: size(package.growth_bytes, signed=True)),
)


def command_line(command: Sequence[str]) -> str:
    """Write a command in one line, of however many its arguments are."""
    return " ".join(" ".join(command).split()) or "(unknown command)"


def why_no_span(summary: Summary) -> str:
    """Say why no span is shown: there was none, or nobody counted."""
    sources = {process.heap_source for process in summary.processes}
    if sources and sources <= {SOURCE_OFF, SOURCE_TRACEMALLOC, None}:
        return "Spans are not counted without the native heap source."
    return "No span was completed."


def duration(seconds: float) -> str:
    """Write a time span as "0.4 s", "61 s", "12 min 5 s" or "3 h 12 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest_seconds = divmod(round(seconds), 60)
    hours, rest_minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {rest_minutes} min"
    return f"{minutes} min {rest_seconds} s" if minutes >= 2 else f"{seconds:.0f} s"


def about_the_source(summary: Summary) -> list[str]:
    """Say in sentences what the heap figures leave out, and why."""
    reasons = "; ".join(summary.heap_reasons)
    sources = {process.heap_source for process in summary.processes}
    sentences = []
    if SOURCE_OFF in sources:
        sentences.append(f"The heap source is off: {reasons or 'as configured'}.")
    if SOURCE_LOST in sources:
        sentences.append(f"The heap source was lost: {reasons or 'cause unknown'}.")
    if any(_lacks_native(process) for process in summary.processes):
        sentences.append(
            "Native: no. Memory that libraries take with malloc is in RSS, not in "
            "the heap figures."
        )
    elif summary.processes and sources == {None}:
        sentences.append("otel-memory itself did not report: is it disabled?")
    return sentences


def make_table(columns: Sequence[Column], rows: Sequence[Any], width: int) -> Table:
    """Make a table that fits into a width without wrapping any cell.

    Names share what the figures leave; a figure is never cut.
    """
    from rich.table import Table  # noqa: PLC0415 - only the extra `cli` brings it
    from rich.text import Text  # noqa: PLC0415

    shown = [
        column for column in columns if width >= _WIDE_COLUMNS or not column.is_wide
    ]
    cells = {
        column.title: [printable(column.cell(row)) for row in rows] for column in shown
    }
    room = _room_for_names(shown, cells, width)
    table = Table(box=None, padding=(0, 0, 0, _INDENT_COLUMNS), header_style="bold")
    for column in shown:
        if column.is_name:
            cells[column.title] = [
                _fit(column, row, room[column.title]) for row in rows
            ]
            table.add_column(column.title, no_wrap=True)
        else:
            table.add_column(column.title, no_wrap=True, justify="right")
    for line in zip(*cells.values(), strict=True):
        table.add_row(*(Text(cell) for cell in line))
    return table


def _room_for_names(
    columns: Sequence[Column], cells: dict[str, list[str]], width: int
) -> dict[str, int]:
    from rich.cells import cell_len  # noqa: PLC0415 - only the extra `cli` brings it

    wanted = {
        column.title: max(map(cell_len, [column.title, *cells[column.title]]))
        for column in columns
    }
    names = [column.title for column in columns if column.is_name]
    free = width - sum(_INDENT_COLUMNS + each for each in wanted.values())
    free += sum(wanted[name] for name in names)
    room = {}
    # The shortest first: what it does not need is left for the others.
    for index, name in enumerate(sorted(names, key=wanted.__getitem__)):
        room[name] = min(wanted[name], max(free // (len(names) - index), 4))
        free -= room[name]
    return room


def _fit(column: Column, row: Any, columns: int) -> str:
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

    text = printable(column.cell(row))
    for shorter in column.shorter:
        if cell_len(text) > columns:
            text = printable(shorter(row))
    if cell_len(text) > columns:
        text = set_cell_size(text, columns - 1) + "…"
    return text


def printable(text: str, replacement: str = "?") -> str:
    """Replace control characters, which a span's name may bring to a terminal."""
    return "".join(each if each.isprintable() else replacement for each in text)
