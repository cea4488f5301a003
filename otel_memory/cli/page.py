# SPDX-License-Identifier: Apache-2.0
"""Write a recording as one HTML file that needs nothing else.

It loads nothing from anywhere, which its content security policy also enforces; only
the scripts that stand in it run. Whatever a recording says is text.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from otel_memory.cli import flame, verdict
from otel_memory.cli.cells import UNKNOWN, age_labels, size_cell, visible
from otel_memory.cli.charts import flame_figure, live_figure, process_figure
from otel_memory.cli.sheets import sheets
from otel_memory.cli.tables import (
    about_the_source,
    command_line,
    duration,
    place_of,
)
from otel_memory.recording.details import Details
from otel_memory.recording.summary import (
    ENDED_UNREPORTED,
    Site,
    Summary,
    add_known,
    largest_known,
)
from otel_memory.recording.timeline import ProcessTimeline
from otel_memory.semconv import SORT_AFTER_END, SORT_SPAN
from otel_memory.units import format_bytes, format_percentage, format_rate

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATE = "report.html.j2"
_STYLE = "report.css"
_SCRIPT = "report.js"

# From here on a line is said to have borne all of it.
_MOST = 0.9


@dataclass(frozen=True)
class Headline:
    """The one sentence that matters: who holds how much, born where."""

    name: str
    live: str
    total: str
    share: str
    place: str
    is_most_of_it: bool
    larger_name: str
    larger: str


@dataclass(frozen=True)
class Tile:
    """One figure to be seen first."""

    label: str
    value: str
    note: str


def render(details: Details) -> str:
    """Make the page.

    The caller has checked that jinja2 and plotly are installed.
    """
    from markupsafe import Markup  # noqa: PLC0415 - only the extra `cli` brings it
    from plotly.offline import (  # type: ignore[import-untyped]  # noqa: PLC0415
        get_plotlyjs,
    )

    environment = _environment()
    # Inside a script nothing is escaped, and this would end it.
    plotly = get_plotlyjs().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    scripts = [plotly, _read(environment, _SCRIPT)]
    summary = details.summary
    processes = [_process_chart(each) for each in details.process_timelines]
    charts = {
        "processes": [each for each in processes if each["figure"]],
        "live": live_figure(details.live_timelines),
        "flame": {
            by: flame_figure(
                flame.flame_tree(details.profiles, details.directory, by=by)
            )
            for by in (flame.BY_SPAN, flame.BY_ENTRY)
        },
    }
    return environment.get_template(_TEMPLATE).render(
        policy=_policy(scripts),
        style=Markup(_read(environment, _STYLE)),
        scripts=[Markup(script) for script in scripts],
        command=command_line(summary.command),
        facts=_facts(details),
        glance=verdict.at_a_glance(summary),
        alerted=bool(summary.alerts),
        headline=_headline(summary),
        verdict=verdict.title(summary),
        verdict_state=summary.verdict.state,
        verdict_sentence=" ".join(verdict.sentences(summary)),
        suspects=_suspects(summary),
        suspects_title=verdict.suspects_title(summary),
        tiles=_tiles(summary),
        sheets={sheet.name: sheet for sheet in sheets(details)},
        ages=age_labels(),
        charts=charts,
        notes=_notes(summary),
        unknown=UNKNOWN,
    )


def _environment() -> Environment:
    from jinja2 import (  # noqa: PLC0415 - only the extra `cli` brings it
        Environment,
        PackageLoader,
        StrictUndefined,
    )

    return Environment(
        loader=PackageLoader("otel_memory.cli"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        # Not one of the template's places may forget it: the file could not even
        # be written with half a surrogate pair in it.
        finalize=_finalize,
    )


def _finalize(value: Any) -> Any:
    is_plain = isinstance(value, str) and not hasattr(value, "__html__")
    return visible(value) if is_plain else value


def _read(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _policy(scripts: Sequence[str]) -> str:
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in scripts
    ]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    # Plotly makes a style sheet of its own, and a picture to measure text with.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _facts(details: Details) -> list[str]:
    summary = details.summary
    facts = [f"service {details.service_name}"] if details.service_name else []
    if details.start_seconds:
        start = datetime.fromtimestamp(details.start_seconds, timezone.utc)
        facts.append(f"{start:%Y-%m-%d %H:%M} UTC")
    if summary.duration_seconds is not None:
        facts.append(duration(summary.duration_seconds))
    number = len(summary.processes)
    facts.append(f"{number} process{'' if number == 1 else 'es'}")
    return facts


def _headline(summary: Summary) -> Headline | None:
    rows = [row for row in summary.spans if row.live_bytes]
    named = [row for row in rows if row.sort in (SORT_SPAN, SORT_AFTER_END)]
    total_bytes = add_known(row.live_bytes for row in rows)
    if not named or not total_bytes:
        return None
    first = named[0]
    live_bytes = first.live_bytes or 0
    place, place_bytes = _largest_place(summary.sites, first.name)
    return Headline(
        name=first.name,
        live=format_bytes(live_bytes),
        total=format_bytes(total_bytes),
        share=format_percentage(round(live_bytes / total_bytes, 2)),
        place=place,
        is_most_of_it=place_bytes > _MOST * live_bytes,
        larger_name=rows[0].name if rows[0] is not first else "",
        larger=format_bytes(rows[0].live_bytes or 0),
    )


def _largest_place(sites: Sequence[Site], span: str) -> tuple[str, int]:
    """Find the line that bore most of a span's live bytes, under whatever entry."""
    born_bytes: dict[str, int] = defaultdict(int)
    for site in sites:
        if site.span == span:
            line = "" if site.line is None else f":{site.line}"
            born_bytes[f"{site.file}{line}"] += site.live_bytes or 0
    return max(born_bytes.items(), key=lambda item: item[1], default=("", 0))


def _suspects(summary: Summary) -> list[str]:
    return [_suspect(line) for line in verdict.suspect_lines(summary)]


def _suspect(line: verdict.SuspectLine) -> str:
    under = f" under {line.entry}" if line.entry != line.span else ""
    rate = format_rate(line.growth_bytes_per_hour or 0.0, signed=True)
    site = f", most of it from {place_of(line.site)}" if line.site else ""
    holds = size_cell(line.live_bytes).text
    return f"{line.span}{under}: {rate}, holds {holds}{site}"


def _tiles(summary: Summary) -> list[Tile]:
    processes = summary.processes
    end_bytes = add_known(process.rss_end_bytes for process in processes)
    peak_bytes = largest_known(process.rss_peak_bytes for process in processes)
    limit_bytes = largest_known(process.limit_bytes for process in processes)
    live_bytes = add_known(row.live_bytes for row in summary.spans)
    growth_bytes = add_known(row.growth_bytes for row in summary.spans)
    rss_growth_bytes = add_known(
        process.rss_end_bytes - process.rss_start_bytes
        for process in processes
        if process.rss_end_bytes is not None and process.rss_start_bytes is not None
    )
    whose = "peak" if len(processes) == 1 else "largest process's peak"
    end = "RSS" if verdict.is_a_moment(summary) else "RSS at the end"
    since = f"RSS {size_cell(rss_growth_bytes, signed=True).text}, start to end"
    return [
        Tile(end, size_cell(end_bytes).text, f"{whose} {size_cell(peak_bytes).text}"),
        Tile(
            "Limit", size_cell(limit_bytes).text, _share(peak_bytes, limit_bytes, whose)
        ),
        Tile(
            "Live heap", size_cell(live_bytes).text, "Python's, estimated from samples"
        ),
        Tile(
            "Growth of live heap",
            size_cell(growth_bytes, signed=True).text,
            "one moment shows none" if verdict.is_a_moment(summary) else since,
        ),
    ]


def _share(peak_bytes: int | None, limit_bytes: int | None, whose: str) -> str:
    if not limit_bytes:
        return "none was reported"
    if peak_bytes is None:
        return UNKNOWN
    return f"{whose} is {format_percentage(round(peak_bytes / limit_bytes, 2))} of it"


def _process_chart(timeline: ProcessTimeline) -> dict[str, Any]:
    peak_bytes = largest_known(timeline.rss_bytes)
    pid = UNKNOWN if timeline.pid is None else timeline.pid
    return {
        "label": f"Process {pid} (peak {size_cell(peak_bytes).text})",
        "figure": process_figure(timeline),
    }


def _notes(summary: Summary) -> list[str]:
    notes = [*about_the_source(summary), *summary.notes]
    ends = [each for each in summary.processes if each.ended == ENDED_UNREPORTED]
    if ends:
        notes.append(
            f"{len(ends)} of {len(summary.processes)} processes ended without a last "
            "report, and count with what they had reported until then."
        )
    if all(row.live_bytes is None for row in summary.spans) and summary.processes:
        notes.append("Live heap was not measured in this run.")
    return notes
