# SPDX-License-Identifier: Apache-2.0
"""What `otel-memory top` shows: one screen of tables."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_memory.cli.tables import (
    ROW_COLUMNS,
    SITE_COLUMNS,
    STATE_TITLES,
    Column,
    about_the_source,
    command_line,
    duration,
    make_table,
    printable,
    rate,
    size,
    why_no_span,
)
from otel_memory.cli.top_sources import Source
from otel_memory.recording.summary import Process, Row, Summary, add_known

if TYPE_CHECKING:
    from rich.console import Console

SORTS: dict[str, Callable[[Row], int | None]] = {
    "live": lambda row: row.live_bytes,
    "growth": lambda row: row.growth_bytes,
    "allocated": lambda row: row.allocated_bytes,
    "count": lambda row: row.count,
}
"""What rows can be sorted by. Sites have a part of it, and are else sorted by live."""
_SITE_SORTS: dict[str, Callable[[Any], int | None]] = {
    "growth": lambda site: site.growth_bytes,
}
_ROWS = 10
_PROCESSES_MAX = 5
# Heading, and for each table a line between, title and header; one more line between.
_OTHER_LINES = 2 + 3 * 3
_SITES_SHARE = 0.4
# From here on there is room for whole sentences; on lower ones for their beginnings.
_LOW_SCREEN_LINES = 20


@dataclass(frozen=True)
class Choice:
    """What the user wants to see.

    Attributes:
        sort: A key of `SORTS`.
        rows: Rows in a table at most; None is as many as there is room for.
    """

    sort: str
    rows: int | None


def print_view(
    console: Console, source: Source, choice: Choice, height: int | None = None
) -> None:
    """Print what is known.

    Args:
        console: Where to; nothing is wider than it.
        source: What is watched.
        choice: What of it.
        height: Lines that there are; None means any number.
    """
    summary = source.summary()
    console.print(_heading(source, summary), no_wrap=True, overflow="ellipsis")
    sentences = [printable(sentence) for sentence in _sentences(source, summary)]
    if height is not None:
        sentences.append("q quits.")
        if height >= _LOW_SCREEN_LINES:
            sentences = textwrap.wrap(" ".join(sentences), console.width)
    processes = sorted(summary.processes, key=_rss_order)
    shown = processes[: choice.rows or _PROCESSES_MAX]
    rows = _sorted(summary.spans, SORTS[choice.sort])
    sites = _sorted(summary.sites, _SITE_SORTS.get(choice.sort))
    rows_max = sites_max = choice.rows or _ROWS
    if height is not None:
        room = max(height - _OTHER_LINES - len(shown) - len(sentences), 2)
        fitting = max(min(len(sites), int(room * _SITES_SHARE)), 1)
        sites_max = min(choice.rows or fitting, fitting)
        fitting = room - min(len(sites), sites_max)
        rows_max = min(choice.rows or fitting, fitting)
    _print_table(console, "Processes", _PROCESS_COLUMNS, processes, len(shown))
    title = f"Spans (bytes are self), by {choice.sort}"
    _print_table(console, title, ROW_COLUMNS, rows, rows_max)
    _print_table(console, "Sites", SITE_COLUMNS, sites, sites_max)
    console.print()
    for sentence in sentences:
        console.print(sentence, no_wrap=height is not None)


def _heading(source: Source, summary: Summary) -> str:
    rss = size(add_known(process.rss_end_bytes for process in summary.processes))
    seconds = summary.duration_seconds
    lasted = "" if seconds is None else f"  {duration(seconds)}"
    # An interpreter's directories would take the room of what tells processes apart.
    command = printable(
        command_line(
            [Path(each).name for each in summary.command[:1]] + [*summary.command[1:]]
        )
    )
    return f"otel-memory top: {printable(source.title)}{lasted}  RSS {rss}  {command}"


def _sentences(source: Source, summary: Summary) -> Iterator[str]:
    if source.trouble is not None:
        yield f"No news: {source.trouble}."
    if not summary.processes:
        yield "No process has reported anything yet."
    elif not summary.spans:
        yield why_no_span(summary)
    yield from about_the_source(summary)
    yield (
        "Live: bytes born in such spans and not freed yet, estimated from samples. "
        f"Growth: since {source.since}."
    )


def _verdict(process: Process) -> str:
    title = STATE_TITLES[process.state].lower()
    return f"{title} {rate(process.growth_bytes_per_hour)}".rstrip()


def _rss_growth_bytes(process: Process) -> int | None:
    first, last = process.rss_start_bytes, process.rss_end_bytes
    return None if first is None or last is None else last - first


_PROCESS_COLUMNS = (
    Column("PID", lambda process: "-" if process.pid is None else str(process.pid)),
    Column("RSS", lambda process: size(process.rss_end_bytes)),
    Column("Growth", lambda process: size(_rss_growth_bytes(process), signed=True)),
    Column("Peak", lambda process: size(process.rss_peak_bytes)),
    Column("Limit", lambda process: size(process.limit_bytes)),
    Column("Verdict", _verdict, is_name=True),
)


def _rss_order(process: Process) -> int:
    return -(process.rss_end_bytes or 0)


def _sorted(
    rows: Sequence[Any], figure: Callable[[Any], int | None] | None
) -> list[Any]:
    """Sort by a figure, what lacks it last; else leave them, sorted by live."""
    if figure is None:
        return list(rows)
    known = [row for row in rows if figure(row) is not None]
    unknown = [row for row in rows if figure(row) is None]
    return sorted(known, key=lambda row: -(figure(row) or 0)) + unknown


def _print_table(
    console: Console,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Any],
    rows_max: int,
) -> None:
    if not rows:
        return
    shown = rows[:rows_max]
    some = "" if len(shown) == len(rows) else f", {len(shown)} of {len(rows):,}"
    console.print(f"\n{title}{some}")
    console.print(make_table(columns, shown, console.width))
