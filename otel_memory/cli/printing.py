# SPDX-License-Identifier: Apache-2.0
"""Print a summary to a terminal, what matters most at the end: there one looks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from otel_memory.cli import verdict
from otel_memory.cli.tables import (
    PACKAGE_COLUMNS,
    PROCESS_COLUMNS,
    ROW_COLUMNS,
    SITE_COLUMNS,
    SUSPECT_COLUMNS,
    Column,
    about_the_source,
    command_line,
    duration,
    make_table,
    printable,
    why_no_span,
)
from otel_memory.recording.summary import Summary
from otel_memory.semconv import SORT_SPAN

if TYPE_CHECKING:
    from rich.console import Console

_ROWS_MAX = 10
_ALERTS_MAX = 5

_LIVE_SENTENCE = (
    "Live: bytes born in such spans and not freed yet, by whomever; estimated from "
    "samples. Growth: live now minus live at the first reading."
)


def print_summary(
    console: Console, summary: Summary, *, whole: str = "report --json"
) -> None:
    """Print what a run's recording says.

    Args:
        console: Where to.
        summary: Of the run.
        whole: The command that shows the rows that are left out here.
    """
    block = partial(_print_block, console, whole)
    _print_heading(console, summary)
    block("Processes", PROCESS_COLUMNS, summary.processes)
    for sentence in about_the_source(summary):
        console.print(sentence)
    completed = [row for row in summary.spans if row.sort == SORT_SPAN and row.count]
    if not completed and summary.processes:
        console.print(f"\n{why_no_span(summary)}")
    block("Spans (bytes are self)", ROW_COLUMNS, summary.spans)
    block("Entries (bytes include steps)", ROW_COLUMNS, summary.entries)
    block("Sites", SITE_COLUMNS, summary.sites)
    title = "Packages (of the allocating frame)"
    block(title, PACKAGE_COLUMNS, summary.packages)
    if any(row.live_bytes is not None for row in summary.spans):
        console.print(f"\n{_LIVE_SENTENCE}")
    _print_verdict(console, summary, whole)
    _print_alerts(console, summary, whole)
    for note in summary.notes:
        console.print(f"Note: {note}")


def _print_heading(console: Console, summary: Summary) -> None:
    command = printable(command_line(summary.command))
    seconds = summary.duration_seconds
    lasted = "" if seconds is None else f", {duration(seconds)}"
    console.print(f"otel-memory: {command}{lasted}", overflow="fold")
    glance = verdict.at_a_glance(summary)
    if glance:
        console.print(glance)
    if not summary.processes:
        console.print("\nNo process has reported anything.")


def _print_block(
    console: Console,
    whole: str,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Any],
) -> None:
    if not rows:
        return
    console.print(f"\n{title}")
    console.print(make_table(columns, rows[:_ROWS_MAX], console.width))
    left_out = len(rows) - _ROWS_MAX
    if left_out > 0:
        console.print(f"  ... and {left_out:,} more; `{whole}` has all of them")


def _print_verdict(console: Console, summary: Summary, whole: str) -> None:
    ranked = any(row.live_bytes is not None for row in summary.spans)
    # A process that reported nothing but itself, or nothing, has no rows to rank.
    if summary.verdict.growth_bytes_per_hour is None and not ranked:
        return
    console.print(f"\nVerdict: {verdict.title(summary)}")
    console.print(" ".join(verdict.sentences(summary)))
    lines = verdict.suspect_lines(summary)
    title = verdict.suspects_title(summary)
    _print_block(console, whole, title, SUSPECT_COLUMNS, lines)


def _print_alerts(console: Console, summary: Summary, whole: str) -> None:
    from rich.padding import Padding  # noqa: PLC0415 - only the extra `cli` brings it
    from rich.text import Text  # noqa: PLC0415

    if not summary.alerts:
        return
    console.print("\nAlerts")
    shown = summary.alerts[-_ALERTS_MAX:]
    left_out = len(summary.alerts) - len(shown)
    if left_out:
        console.print(f"  {left_out:,} before; `{whole}` has all of them")
    for alert in shown:
        seconds = verdict.when(alert, summary.start_seconds)
        where = [] if seconds is None else [f"after {duration(seconds)}"]
        where += [] if alert.pid is None else [f"process {alert.pid}"]
        before = f"{', '.join(where)}: " if where else ""
        text = Text(printable(f"{before}{alert.message}"))
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
