# SPDX-License-Identifier: Apache-2.0
"""Figures for plotly.js, as plain JSON.

Plotly reads a part of HTML in whatever text it is given, so names are escaped here.
Colours are variables of the style sheet, which the page looks up: they change with
the light.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from otel_memory.cli import flame
from otel_memory.cli.cells import visible
from otel_memory.recording.summary import largest_known
from otel_memory.recording.timeline import LiveTimeline, ProcessTimeline
from otel_memory.semconv import SORT_AFTER_END, SORT_SPAN
from otel_memory.units import GIB, KIB, MIB, format_bytes, format_percentage

Figure = dict[str, Any]

_SERIES_MAX = 7
_NEUTRALS = 4
_NAME_CHARACTERS = 42
# A line far above the others would press them flat.
_LIMIT_IN_SIGHT = 4

_BYTE_UNITS = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B"))
_TIME_UNITS = ((3600, 3, "h"), (60, 3, "min"), (1, 0, "s"))

_LINES = (
    ("RSS", "rss_bytes", {"color": "var(--series-1)", "width": 2.5}),
    ("Anonymous", "anonymous_bytes", {"color": "var(--series-2)", "width": 1.5}),
    ("Python heap", "heap_bytes", {"color": "var(--series-3)", "width": 1.5}),
)
_FLAME_COLOURS = {
    flame.KIND_ALL: "var(--flame-all)",
    flame.KIND_NAME: "var(--flame-name)",
    flame.KIND_SPECIAL: "var(--flame-special)",
    flame.KIND_OWN: "var(--flame-own)",
    flame.KIND_LIBRARY: "var(--flame-library)",
    flame.KIND_REST: "var(--flame-rest)",
}


def escaped(text: str) -> str:
    """Write text so that plotly.js shows it as it is."""
    # A template's placeholder begins with a percent sign.
    return html.escape(visible(text), quote=False).replace("%", "&#37;")


def process_figure(timeline: ProcessTimeline) -> Figure | None:
    """Draw the memory of one process over time; None if there is no line."""
    drawn = [
        (label, getattr(timeline, name), style)
        for label, name, style in _LINES
        if _is_line(getattr(timeline, name))
    ]
    if not drawn:
        return None
    most_bytes = largest_known(each for _, values, _ in drawn for each in values) or 0
    limit_bytes = largest_known(timeline.limit_bytes)
    note = ""
    if limit_bytes and limit_bytes <= most_bytes * _LIMIT_IN_SIGHT:
        style = {"color": "var(--limit)", "width": 1.5, "dash": "dash"}
        drawn.append(("Limit", timeline.limit_bytes, style))
        most_bytes = max(most_bytes, limit_bytes)
    elif limit_bytes:
        note = f"The limit, {format_bytes(limit_bytes)}, is far above these lines."
    axes = _Axes(timeline.seconds, most_bytes)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": label,
            "x": axes.times(timeline.seconds),
            "y": axes.sizes(values),
            "line": style,
            "hovertemplate": axes.hover,
        }
        for label, values, style in drawn
    ]
    return {"data": traces, "layout": axes.layout(), "note": note}


def live_figure(timelines: Sequence[LiveTimeline]) -> Figure | None:
    """Draw live heap by span name over time; None if there is no line."""
    timelines = [each for each in timelines if any(each.live_bytes)]
    seconds = sorted({second for each in timelines for second in each.seconds})
    if len(seconds) < 2:
        return None
    held = {index: _held(each, seconds) for index, each in enumerate(timelines)}
    ranked = sorted(held, key=lambda index: -max(held[index]))
    shown, others = ranked[:_SERIES_MAX], ranked[_SERIES_MAX:]
    if len(others) == 1:
        shown, others = ranked, []
    most_bytes = max(map(sum, zip(*held.values(), strict=True)))
    axes = _Axes(seconds, most_bytes)
    colours = _series_colours(timelines[index].sort for index in shown)
    areas = [
        (_legend_name(timelines[index].name), held[index], colour)
        for index, colour in zip(shown, colours, strict=True)
    ]
    if others:
        rest = [sum(at) for at in zip(*(held[index] for index in others), strict=True)]
        areas.append((f"next {len(others)} names", rest, "var(--neutral-rest)"))
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": axes.times(seconds),
            "y": axes.sizes(values),
            "stackgroup": "live",
            "line": {"color": colour, "width": 0.5},
            "fillcolor": colour,
            "hovertemplate": axes.hover,
        }
        for name, values, colour in areas
    ]
    return {"data": traces, "layout": axes.layout(), "note": ""}


def flame_figure(nodes: Sequence[flame.Node]) -> Figure | None:
    """Draw the live heap as an icicle; None if nothing is alive.

    `names` beside the figure are the nodes' texts as they are, which the page cuts to
    the room that there is; `choices` are the nodes of span or entry names.
    """
    if not nodes:
        return None
    total_bytes = nodes[0].live_bytes
    trace = {
        "type": "icicle",
        "ids": [str(index) for index in range(len(nodes))],
        "parents": [str(node.parent) if node.parent >= 0 else "" for node in nodes],
        "labels": [escaped(node.label) for node in nodes],
        "values": [node.live_bytes for node in nodes],
        "customdata": [_described(node, total_bytes) for node in nodes],
        "branchvalues": "total",
        "sort": False,  # They are, and what is cut off comes last.
        "marker": {
            "colors": [_FLAME_COLOURS[node.kind] for node in nodes],
            "line": {"color": "var(--paper)", "width": 1},
        },
        "leaf": {"opacity": 1},
        "textposition": "middle left",
        "texttemplate": "%{text}",
        "hovertemplate": "<b>%{label}</b><br>%{customdata}<extra></extra>",
        "tiling": {"orientation": "v", "pad": 0},
        "pathbar": {"visible": False},
    }
    layout = {
        **_base_layout(),
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "uniformtext": {"mode": "hide", "minsize": 11},
    }
    return {
        "data": [trace],
        "layout": layout,
        "names": [
            visible(f"{node.label}  {node.place}" if node.place else node.label)
            for node in nodes
        ],
        "choices": [
            [index, visible(node.label), format_bytes(node.live_bytes)]
            for index, node in enumerate(nodes)
            if node.parent == 0
        ],
    }


def _described(node: flame.Node, total_bytes: int) -> str:
    share = format_percentage(node.live_bytes / total_bytes)
    held = f"{format_bytes(node.live_bytes)}, {escaped(share)} of live heap"
    return f"{escaped(node.place)}<br>{held}" if node.place else held


class _Axes:
    """Units that fit what is drawn: ticks stay round numbers, also when zoomed."""

    def __init__(self, seconds: Sequence[float], most_bytes: int) -> None:
        # A clock that was put back leaves times before the start.
        longest_seconds = max(0.0, max(seconds, default=0.0))
        self._second, self._time_unit = next(
            (size, unit)
            for size, least, unit in _TIME_UNITS
            if longest_seconds >= size * least
        )
        self._byte, self._byte_unit = next(
            (size, unit)
            for size, unit in _BYTE_UNITS
            if most_bytes >= size or unit == "B"
        )
        self.hover = f"%{{y:.1f}} {self._byte_unit}"

    def times(self, seconds: Iterable[float]) -> list[float]:
        return [round(each / self._second, 4) for each in seconds]

    def sizes(self, sizes_bytes: Iterable[int | None]) -> list[float | None]:
        return [
            None if each is None else round(each / self._byte, 4)
            for each in sizes_bytes
        ]

    def layout(self) -> Figure:
        axis = {
            "gridcolor": "var(--rule)",
            "linecolor": "var(--rule)",
            "zeroline": False,
            "tickfont": {"size": 12},
        }
        unit = self._time_unit
        return {
            **_base_layout(),
            "hovermode": "x unified",
            "xaxis": {
                **axis,
                "ticksuffix": f" {unit}",
                "showgrid": False,
                "spikecolor": "var(--soft)",
                "spikethickness": -1,  # One pixel, without a halo.
                "unifiedhovertitle": {"text": f"%{{x:.1f}} {unit} after the start"},
            },
            "yaxis": {
                **axis,
                "ticksuffix": f" {self._byte_unit}",
                "rangemode": "tozero",
                "fixedrange": True,
                "automargin": True,
            },
            "legend": {
                "orientation": "h",
                "traceorder": "normal",
                "x": 0,
                "xanchor": "left",
                "y": -0.12,
                "yanchor": "top",
            },
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        }


def _base_layout() -> Figure:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink)", "size": 13},
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--rule)",
            "font": {"color": "var(--ink)"},
            "align": "left",
            "namelength": -1,
        },
        "showlegend": True,
        "autosize": True,
    }


def _is_line(values: Sequence[int | None]) -> bool:
    return sum(value is not None for value in values) > 1


def _held(timeline: LiveTimeline, seconds: Sequence[float]) -> list[int]:
    """Give what a name held at each time; the last known until the next one."""
    known = dict(zip(timeline.seconds, timeline.live_bytes, strict=True))
    held, held_bytes = [], 0  # Before its first reading nothing was born there.
    for second in seconds:
        reading_bytes = known.get(second)
        held_bytes = held_bytes if reading_bytes is None else reading_bytes
        held.append(held_bytes)
    return held


def _series_colours(sorts: Iterable[str]) -> list[str]:
    """Give each name a colour; rows that are nobody's span are shades of grey."""
    colours, names, specials = [], 0, 0
    for sort in sorts:
        if sort in (SORT_SPAN, SORT_AFTER_END):
            names += 1
            colours.append(f"var(--series-{names})")
        else:
            specials += 1
            colours.append(f"var(--neutral-{min(specials, _NEUTRALS)})")
    return colours


def _legend_name(name: str) -> str:
    if len(name) > _NAME_CHARACTERS:
        name = name[: _NAME_CHARACTERS - 1] + "…"
    return escaped(name)
