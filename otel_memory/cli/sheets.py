# SPDX-License-Identifier: Apache-2.0
"""The tables of the HTML report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from otel_memory.cli import verdict
from otel_memory.cli.cells import (
    UNKNOWN,
    Cell,
    by_age_cell,
    mean_cell,
    number_cell,
    rate_cell,
    short_time_cell,
    size_cell,
    time_cell,
)
from otel_memory.cli.tables import STATE_TITLES, duration, why_no_span
from otel_memory.leaks import STATES
from otel_memory.recording.details import Details
from otel_memory.recording.largest import LargeSpan
from otel_memory.recording.summary import Alert, Package, Process, Row, Site
from otel_memory.semconv import EVENT_RECOVERED, SORT_AFTER_END, SORT_SPAN
from otel_memory.sites import NATIVE_PACKAGE

_TOP_SITES_MAX = 3


@dataclass(frozen=True)
class Column:
    """A heading, what it means, and whether its cells are figures."""

    title: str
    help: str = ""
    is_figure: bool = True


@dataclass(frozen=True)
class Line:
    """One row; special ones are nobody's span."""

    cells: tuple[Cell, ...]
    is_special: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table, sorted by `sorted_by` at first."""

    name: str
    title: str
    about: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    sorted_by: int | None
    empty: str


_NAME = Column("Name", "The span's name; with its kind, where it has one.", False)
_LIVE = Column("Live", "Born in such spans and not freed yet, by whomever.")
_BY_AGE = Column(
    "Live by age",
    "The bar is as long as what is held, from the youngest to the oldest bytes.",
)
_GROWTH = Column("Growth", "Live now minus live at the first reading.")
_MEAN_AGE = Column("Mean age", "How long ago the live bytes were born, on average.")
_COMPLETED = Column(
    "Spans since", "Such spans that have completed since the bytes were born, mean."
)
_SAMPLES = Column("Samples", "On how many samples the estimate of Live stands.")

_ROW_COLUMNS = (
    _NAME,
    _LIVE,
    _BY_AGE,
    _GROWTH,
    _MEAN_AGE,
    _COMPLETED,
    Column("Count", "Completed spans."),
    Column("Allocated", "All bytes handed out; never falls."),
    Column("Peak", "The most that a single such span needed at once."),
    _SAMPLES,
)
_SITE_COLUMNS = (
    Column("Site", "The innermost line of your own code.", False),
    _LIVE,
    Column("Span", "In which spans; with their entry, where it is another.", False),
    _BY_AGE,
    _GROWTH,
    _MEAN_AGE,
    _COMPLETED,
    _SAMPLES,
    Column("Example trace", "One in which some of it was born.", False),
)
_PACKAGE_COLUMNS = (
    Column("Package", "The top-level package of the frame that allocated.", False),
    _LIVE,
    Column("While importing", "The part that was born while modules were imported."),
    _GROWTH,
    _SAMPLES,
)
_LARGEST_COLUMNS = (
    Column("Span", "Its name, kind, trace id and span id.", False),
    Column("Peak", "The highest delta during the span."),
    Column("Delta", "What the heap gained from its start to its end."),
    Column("Allocated", "All bytes handed out during the span."),
    Column("Self allocated", "The same without its child spans."),
    Column("Duration", "And when it started, after the start of the run."),
    Column("Top sites", "The lines that took most.", False),
)
_PROCESS_COLUMNS = (
    Column("PID"),
    Column("RSS start"),
    Column("RSS peak"),
    Column("RSS end"),
    Column("Limit"),
    Column("Heap source", "Where its heap figures come from.", False),
    Column("Native covered", "Whether what libraries malloc is in them.", False),
    Column("Verdict", "Of its growth, if it lived for long enough.", False),
    Column("Growth", "Of its memory's floor, by the verdict."),
    Column("Ended", "", False),
)
_ALERT_COLUMNS = (
    Column("After", "How long after the start of the run."),
    Column("Process"),
    Column("Kind", "", False),
    Column("Message", "", False),
    Column(
        "More evidence",
        "Who bore what grew, and the lines that bore most, beyond the message.",
        False,
    ),
)


def sheets(details: Details) -> list[Sheet]:
    """Make all tables, in the order of the page."""
    summary = details.summary
    return [
        _sheet(
            "spans",
            "Spans",
            "Which step holds memory. Bytes are the span's own, without its children.",
            _ROW_COLUMNS,
            [_row_line(row, _most(summary.spans)) for row in summary.spans],
            why_no_span(summary),
        ),
        _sheet(
            "entries",
            "Entries",
            "Which endpoint or job holds memory. Bytes include all steps within.",
            _ROW_COLUMNS,
            [_row_line(row, _most(summary.entries)) for row in summary.entries],
            why_no_span(summary),
        ),
        _sheet(
            "sites",
            "Sites",
            "Which line of source the live bytes were born at.",
            _SITE_COLUMNS,
            [_site_line(site, _most(summary.sites)) for site in summary.sites],
            "No live heap was sampled.",
        ),
        _sheet(
            "packages",
            "Packages",
            "Whose code allocated what is alive: your own, or that of a dependency.",
            _PACKAGE_COLUMNS,
            [_package_line(package) for package in summary.packages],
            "No live heap was sampled.",
        ),
        _sheet(
            "largest",
            "Largest single spans",
            "What one request needed at once. Look its trace up in your backend.",
            _LARGEST_COLUMNS,
            [_largest_line(s, details.start_seconds) for s in details.largest_spans],
            "No recorded span carries heap figures.",
        ),
        _sheet(
            "processes",
            "Processes",
            "",
            _PROCESS_COLUMNS,
            [_process_line(process) for process in summary.processes],
            "No process has reported anything.",
            sorted_by=None,
        ),
        _sheet(
            "alerts",
            "Alerts",
            "What the processes raised themselves, and took back.",
            _ALERT_COLUMNS,
            [_alert_line(alert, summary.start_seconds) for alert in summary.alerts],
            "No alert was raised.",
            sorted_by=None,
        ),
    ]


def _sheet(
    name: str,
    title: str,
    about: str,
    columns: tuple[Column, ...],
    lines: Sequence[Line],
    empty: str,
    *,
    sorted_by: int | None = 1,
) -> Sheet:
    return Sheet(name, title, about, columns, tuple(lines), sorted_by, empty)


def _most(rows: Iterable[Any]) -> int:
    return max((row.live_bytes or 0 for row in rows), default=0)


def _row_line(row: Row, most_bytes: int) -> Line:
    cells = (
        Cell(row.name, row.name, note=row.kind),
        size_cell(row.live_bytes),
        by_age_cell(row.live_bytes_by_age, most_bytes),
        size_cell(row.growth_bytes, signed=True),
        time_cell(row.age_mean_seconds),
        mean_cell(row.completed_mean),
        number_cell(row.count),
        size_cell(row.allocated_bytes),
        size_cell(row.peak_bytes_max),
        number_cell(row.live_samples),
    )
    return Line(cells, row.sort not in (SORT_SPAN, SORT_AFTER_END))


def _site_line(site: Site, most_bytes: int) -> Line:
    place = site.file if site.line is None else f"{site.file}:{site.line}"
    trace = (("trace", site.trace_id),) if site.trace_id else ()
    cells = (
        Cell(place, place, note=site.function or "", is_code=True),
        size_cell(site.live_bytes),
        Cell(site.span, site.span, note=site.entry if site.entry != site.span else ""),
        by_age_cell(site.live_bytes_by_age, most_bytes),
        size_cell(site.growth_bytes, signed=True),
        time_cell(site.age_mean_seconds),
        mean_cell(site.completed_mean),
        number_cell(site.samples),
        Cell("" if trace else UNKNOWN, site.trace_id, copies=trace),
    )
    return Line(cells, site.line is None)


def _package_line(package: Package) -> Line:
    cells = (
        Cell(package.package, package.package, is_code=True),
        size_cell(package.live_bytes),
        size_cell(package.import_bytes),
        size_cell(package.growth_bytes, signed=True),
        number_cell(package.samples),
    )
    return Line(cells, package.package == NATIVE_PACKAGE)


def _largest_line(span: LargeSpan, start_seconds: float) -> Line:
    known = span.start_seconds
    started = "" if known is None else f"at {duration(known - start_seconds)}"
    ids = (("trace", span.trace_id), ("span", span.span_id))
    copies = tuple((label, value) for label, value in ids if value)
    cells = (
        Cell(span.name, span.name, note=span.kind, copies=copies),
        size_cell(span.peak_bytes),
        size_cell(span.delta_bytes, signed=True),
        size_cell(span.allocated_bytes),
        size_cell(span.self_allocated_bytes),
        replace(short_time_cell(span.duration_seconds), note=started),
        Cell("\n".join(span.top_sites[:_TOP_SITES_MAX]) or UNKNOWN, is_code=True),
    )
    return Line(cells)


def _process_line(process: Process) -> Line:
    covered = {None: UNKNOWN, True: "yes", False: "no"}[process.native_covered]
    source = process.heap_source or UNKNOWN
    cells = (
        Cell(UNKNOWN if process.pid is None else str(process.pid), process.pid),
        size_cell(process.rss_start_bytes),
        size_cell(process.rss_peak_bytes),
        size_cell(process.rss_end_bytes),
        size_cell(process.limit_bytes),
        Cell(source, process.heap_source),
        Cell(covered, covered),
        Cell(STATE_TITLES[process.state].lower(), STATES.index(process.state)),
        rate_cell(process.growth_bytes_per_hour),
        Cell(process.ended, process.ended),
    )
    return Line(cells)


def _alert_line(alert: Alert, start_seconds: float | None) -> Line:
    # Of what is over, who bore it is of no interest.
    texts = () if alert.event == EVENT_RECOVERED else alert.suspects + alert.top_sites
    new = [text for text in texts if text not in alert.message]
    cells = (
        time_cell(verdict.when(alert, start_seconds)),
        Cell(UNKNOWN if alert.pid is None else str(alert.pid), alert.pid),
        Cell(alert.kind or UNKNOWN, alert.kind),
        Cell(alert.message, alert.message),
        Cell("\n".join(new), is_code=True),
    )
    return Line(cells)
