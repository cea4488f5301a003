# SPDX-License-Identifier: Apache-2.0
"""What the dashboards have in common: variables, links, annotations, the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.models import dashboard as models

from deploy import names
from deploy.grafana import looks, promql
from deploy.grafana.panels import DATA_SOURCE, MIN_STEP, Panel
from deploy.names import SETTINGS
from deploy.rules.model import PREFIX
from otel_memory import semconv

TAG = "otel-memory"
COLUMNS = 24
UIDS: dict[str, str] = SETTINGS["dashboards"]
TITLES = {
    "fleet": "Python memory / Fleet",
    "process": "Python memory / Process",
    "spans": "Python memory / Spans",
}
_TOOLTIPS = {
    "fleet": "Services against their limits, who grows, who fires",
    "process": "One process: what it takes, and why",
    "spans": "Which operation holds the memory, and which churns",
}
_INTERVAL_SECONDS = SETTINGS["export"]["interval_seconds"]
# A counter's rise stays in sight for as long as one of its samples may be late.
_LOOK_BACK = f"[{4 * _INTERVAL_SECONDS}s]"

FIRING = promql.choose(
    "ALERTS",
    f'alertname=~"{PREFIX}.+"',
    promql.equals("alertstate", "firing"),
)


@dataclass(frozen=True)
class Section:
    """Panels below one heading.

    Attributes:
        id: Of the heading; those of its panels follow it.
        title: The heading.
        bands: Rows of panels, each with its height; their widths fill 24 columns.
    """

    id: int
    title: str
    bands: Sequence[tuple[int, Sequence[Panel]]]


def dashboard(
    name: str,
    description: str,
    sections: Sequence[Section],
    *,
    variables: Sequence[builders.QueryVariable] = (),
    annotations: Sequence[builders.AnnotationQuery] = (),
) -> models.Dashboard:
    """Build one of the dashboards.

    Args:
        name: Its name in the settings.
        description: One paragraph.
        sections: From top to bottom.
        variables: After those that all dashboards have.
        annotations: Marks on all panels with time.
    """
    builder = (
        builders.Dashboard(TITLES[name])
        .uid(UIDS[name])
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
        .version(1)
        .variables([_data_source(), *_processes(), *variables])
        .annotations(list(annotations))
        .links([_link_to(other) for other in TITLES if other != name])
    )
    built = builder.build()
    # The SDK's own layout leaves holes and puts wide panels over the edge.
    built.panels = _placed(sections)
    return built


def process_url(job: str, instance: str) -> str:
    """Lead to one process's dashboard.

    Args:
        job: Grafana's template of the service.
        instance: Grafana's template of the instance.
    """
    return (
        f"/d/{UIDS['process']}?${{datasource:queryparam}}"
        f"&var-job={job}&var-instance={instance}&${{__url_time_range}}"
    )


def chooser(name: str, label: str, query: str) -> builders.QueryVariable:
    """Let the reader choose values of a label: several, or all."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor"})
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def restarts(*, shown: bool = True) -> builders.AnnotationQuery:
    """Mark where processes started."""
    uptime = promql.select(semconv.PROCESS_UPTIME)
    return _marks(
        "Starts of processes",
        promql.by("min", promql.PROCESS, f"{uptime} < {2 * _INTERVAL_SECONDS}"),
        looks.PLAIN,
        "{{job}} started",
        shown=shown,
    )


def firing() -> builders.AnnotationQuery:
    """Mark where alert rules of Prometheus fire."""
    labels = ("alertname", "severity", *promql.PROCESS)
    return _marks(
        "Alert rules that fire",
        promql.by("max", labels, FIRING),
        looks.WORST,
        "{{alertname}} of {{job}}",
        tags="severity",
    )


def raised() -> builders.AnnotationQuery:
    """Mark where the process itself raised an alert."""
    labels = (*promql.PROCESS, names.ALERT_KIND)
    rise = f"increase({promql.select(semconv.ALERTS)}{_LOOK_BACK})"
    return _marks(
        "Alerts in the process",
        f"{promql.by('sum', labels, rise)} > 0",
        looks.BAD,
        f"{{{{{names.ALERT_KIND}}}}} in {{{{job}}}}",
        tags=names.ALERT_KIND,
    )


def kills() -> builders.AnnotationQuery:
    """Mark where the kernel killed for want of memory."""
    rise = f"increase({promql.select(semconv.OOM_KILLS)}{_LOOK_BACK})"
    return _marks(
        "Out-of-memory kills",
        f"{promql.by('sum', promql.PROCESS, rise)} > 0",
        "dark-red",
        "OOM kill in the container of {{job}}",
    )


def _marks(
    name: str,
    expression: str,
    color: str,
    title: str,
    *,
    tags: str = "",
    shown: bool = True,
) -> builders.AnnotationQuery:
    target = prometheus_builders.Dataquery().expr(expression).ref_id("Anno")
    return (
        builders.AnnotationQuery()
        .name(name)
        .datasource(DATA_SOURCE)
        .enable(shown)
        .icon_color(color)
        # Old servers read these, new ones the target.
        .expr(expression)
        .step(MIN_STEP)
        .title_format(title)
        .text_format("{{instance}}")
        .tag_keys(tags)
        .target(target.interval(MIN_STEP).range())
    )


class _DataSource(builders.DatasourceVariable):
    """The variable of the data source, which is looked up anew as the others are."""

    def build(self) -> models.VariableModel:
        built = super().build()
        built.refresh = models.VariableRefresh.ON_TIME_RANGE_CHANGED
        return built


def _data_source() -> builders.DatasourceVariable:
    return _DataSource("datasource").label("Data source").type("prometheus")


def _processes() -> list[builders.QueryVariable]:
    name = names.series(semconv.PROCESS_RSS)
    return [
        chooser("job", "Job", f"label_values({name}, {names.JOB})"),
        chooser(
            "instance",
            "Instance",
            f'label_values({name}{{{names.JOB}=~"$job"}}, {names.INSTANCE})',
        ),
    ]


def _link_to(name: str) -> builders.DashboardLink:
    return (
        builders.DashboardLink(TITLES[name].rpartition("/ ")[2])
        .type(models.DashboardLinkType.LINK)
        .icon("dashboard")
        .tooltip(_TOOLTIPS[name])
        .url(f"/d/{UIDS[name]}")
        .keep_time(True)
        .include_vars(True)
    )


def _placed(sections: Sequence[Section]) -> list[Any]:
    placed: list[Any] = []
    y = 0
    for section in sections:
        position = models.GridPos(h=1, w=COLUMNS, x=0, y=y)
        row = builders.Row(section.title).id(section.id).grid_pos(position)
        placed.append(row.build())
        y += 1
        for height, panels in section.bands:
            x = 0
            for panel in panels:
                width = panel.grid_pos.w if panel.grid_pos else COLUMNS
                panel.grid_pos = models.GridPos(h=height, w=width, x=x, y=y)
                x += width
                placed.append(panel)
            if x != COLUMNS:
                raise ValueError(f"a band of {section.title!r} is {x} columns wide")
            y += height
    return placed
