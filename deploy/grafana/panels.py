# SPDX-License-Identifier: Apache-2.0
"""The kinds of panel, each built from what it says and what it asks.

Every panel has a title, tells what it means and what to do, and asks the dashboard's
data source. Ids are given, for alerts lead to panels by them; positions follow from
the order of the sections, without holes or overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.models import common, prometheus
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models

from deploy.grafana import looks, promql
from deploy.names import SETTINGS

DATA_SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
TO_DO = "**What to do:**"
# Without it $__rate_interval follows the data source's own setting, 15 seconds by
# default, and a rate over one sample is nothing.
MIN_STEP = f"{SETTINGS['export']['interval_seconds']}s"

Panel = models.Panel
_Builder = TypeVar(
    "_Builder",
    bargauge.Panel,
    heatmap.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    timeseries.Panel,
)


@dataclass(frozen=True)
class Query:
    """One expression, and what its series are called.

    Attributes:
        expression: PromQL.
        legend: Grafana's template of a series' name.
        exemplars: Ask for exemplars, too.
    """

    expression: str
    legend: str = ""
    exemplars: bool = False


ONE = "{{instance}}"
"""The legend of a series that stands for one process."""


def each(expression: str, legend: str = ONE) -> Query:
    """Ask for one series of each process."""
    return Query(promql.by("max", promql.PROCESS, expression), legend)


@dataclass(frozen=True)
class About:
    """What every kind of panel needs.

    Attributes:
        id: Its number in the dashboard, for good.
        title: A few words.
        means: What the figures are.
        do: What to do about them.
        width: Of 24 columns.
        queries: What is asked.
        unit: Grafana's name of the unit.
    """

    id: int
    title: str
    means: str
    do: str
    width: int
    queries: Sequence[Query] = ()
    unit: str = looks.COUNT


def lines(
    about: About,
    *,
    stacked: bool = False,
    bars: bool = False,
    steps: looks.Steps | None = None,
    from_zero: bool = True,
    colors: dict[str, str] | None = None,
    dashed: str | None = None,
    beside: bool = False,
) -> Panel:
    """Draw series over time.

    Args:
        about: What the panel says and asks.
        stacked: Pile the series up.
        bars: Draw what happened in each interval rather than a line.
        steps: Thresholds, drawn as lines.
        from_zero: Let the axis begin at zero.
        colors: Colours of series, by pattern of their names.
        dashed: Pattern of the names of series that are borders rather than figures.
        beside: Put the legend beside the lines, where all of its rows are in sight.
    """
    panel = (
        with_common(timeseries.Panel(), about)
        .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
        .fill_opacity(60 if bars or stacked else 8)
        # A border on top of a pile would give it the colour of a figure that is 0.
        .line_width(0 if stacked else 1)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(
                common.LegendPlacement.RIGHT
                if beside
                else common.LegendPlacement.BOTTOM
            )
            .show_legend(True)
            # Windows of bars overlap, so that a sum would count things several times.
            .calcs(["max"] if bars else ["lastNotNull", "max"])
            # Few rows fit: the largest first, by the title of their column.
            .sort_by("Max" if bars else "Last *")
            .sort_desc(True)
        )
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if from_zero:
        panel.min(0)
    if bars:
        panel.decimals(0)  # Prometheus extrapolates: one event is 1.3
    if stacked or bars:
        panel.stacking(
            common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
        )
    if steps:
        panel.thresholds(looks.thresholds(steps)).thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED
            )
        )
    for pattern, color in (colors or {}).items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel.override_by_regexp(
            _anywhere(pattern), [models.DynamicConfigValue("color", fixed)]
        )
    if dashed:
        style = {"fill": "dash", "dash": [8, 6]}
        panel.override_by_regexp(
            _anywhere(dashed),
            [
                models.DynamicConfigValue("custom.lineStyle", style),
                models.DynamicConfigValue("custom.fillOpacity", 0),
            ],
        )
    return panel.build()


def number(
    about: About,
    *,
    steps: looks.Steps = looks.NO_STEPS,
    mappings: list[models.ValueMapping] | None = None,
    absent: str = "-",
) -> Panel:
    """Show what is now, large: the last value of a range may be hours old."""
    panel = (
        with_common(stat.Panel(), about, instant=True)
        .thresholds(looks.thresholds(steps))
        .mappings(mappings or [looks.absent_mapping()])
        .no_value(absent)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.AUTO)
        .reduce_options(_last())
    )
    return panel.build()


def gauges(
    about: About,
    *,
    steps: looks.Steps,
    maximum: float | None = None,
    link: builders.DashboardLink | None = None,
) -> Panel:
    """Show the last values as bars, one below the other."""
    panel = (
        with_common(bargauge.Panel(), about, instant=True)
        .thresholds(looks.thresholds(steps))
        .min(0)
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .value_mode(common.BarGaugeValueMode.TEXT)
        .show_unfilled(True)
        # Or few processes have bars and names as large as headings.
        .sizing(common.BarGaugeSizing.MANUAL)
        .max_viz_height(60)
        .text(common_builders.VizTextDisplayOptions().title_size(14).value_size(14))
        .reduce_options(_last())
    )
    if maximum is not None:
        panel.max(maximum)
    if link:
        panel.data_links([link])
    return panel.build()


def states(about: About) -> Panel:
    """Show the verdict over time."""
    panel = (
        with_common(statetimeline.Panel(), about)
        .thresholds(looks.thresholds(looks.STATE_STEPS))
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .mappings(looks.state_mappings())
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.8)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    return panel.build()


def heat(about: About) -> Panel:
    """Draw a histogram's buckets over time, with exemplars as points."""
    panel = (
        with_common(heatmap.Panel(), about, prometheus.PromQueryFormat.HEATMAP)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit(about.unit))
        .cell_values(heatmap.CellValues().unit(looks.PER_SECOND))
        # Empty cells would hide the background, and the exemplars in them.
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .exemplars_color("rgba(255,0,255,0.7)")
        .show_value(common.VisibilityMode.NEVER)
        .show_legend()
    )
    return panel.build()


def with_common(
    panel: _Builder,
    about: About,
    form: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES,
    *,
    instant: bool = False,
) -> _Builder:
    """Give a panel what all kinds have: its words, its width and its queries."""
    (
        panel.id(about.id)
        .title(about.title)
        .description(f"{about.means}\n\n{TO_DO} {about.do}")
        .datasource(DATA_SOURCE)
        .unit(about.unit)
        .grid_pos(models.GridPos(w=about.width))
    )
    for letter, query in zip(ascii_uppercase, about.queries, strict=False):
        target = (
            prometheus_builders.Dataquery()
            .datasource(DATA_SOURCE)
            .editor_mode(prometheus.QueryEditorMode.CODE)
            .expr(query.expression)
            .format(form)
            .legend_format(query.legend)
            .interval(MIN_STEP)
            .ref_id(letter)
        )
        if query.exemplars:
            target.exemplar(True)
        panel.with_target(target.instant() if instant else target.range())
    return panel


def _anywhere(pattern: str) -> str:
    """Write a pattern so that Grafana does not make it fit the whole name."""
    return f"/{pattern}/"


def _last() -> common_builders.ReduceDataOptions:
    return common_builders.ReduceDataOptions().calcs(["lastNotNull"])
