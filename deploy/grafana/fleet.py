# SPDX-License-Identifier: Apache-2.0
"""The dashboard *Fleet*: which service is in trouble."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

from deploy import names
from deploy.grafana import fleet_health, frame, looks
from deploy.grafana.figures import (
    CRITICAL,
    GROWTH_STEPS,
    LEAKING,
    PRESSURE_SOME,
    PRESSURE_STEPS,
    SECONDS_LEFT,
    USAGE_SHARE,
    VERDICT,
    WARNING,
)
from deploy.grafana.frame import Section, process_url
from deploy.grafana.panels import (
    About,
    Panel,
    Query,
    gauges,
    lines,
    number,
    states,
)
from deploy.grafana.promql import (
    PROCESS,
    SERVICE,
    by,
    choose,
    or_zero,
    rate,
    select,
    top,
)
from deploy.grafana.tables import Figure, Label, rows
from otel_memory import semconv

# Absent where no rules are evaluated, and then it is not true that no alert fires.
RECORDED = choose(names.ANONYMOUS_FLOOR)


def build() -> models.Dashboard:
    """Build the dashboard."""
    return frame.dashboard(
        "fleet",
        "All chosen services and processes: how near each is to its memory limit, "
        "which grow, which alerts fire, and whether otel-memory itself is well. Begin "
        "here; a row or a bar leads to the process.",
        [
            Section(100, "At a glance", [(4, _glance())]),
            Section(
                200,
                "Against the limit",
                [(11, [_against_limits(), _nearest()]), (8, [_highest(), _pressure()])],
            ),
            Section(
                300,
                "Growth",
                [(9, [_growers(), _growth(), _verdicts()]), (8, [_worst()])],
            ),
            *fleet_health.sections(),
        ],
        annotations=[frame.firing(), frame.restarts(shown=False)],
    )


def _link() -> builders.DashboardLink:
    url = process_url("${__field.labels.job}", "${__field.labels.instance}")
    return builders.DashboardLink("Open the process").url(url)


def _glance() -> list[Panel]:
    near = f"count({USAGE_SHARE} >= {looks.WARNING})"
    leaking = f"count({VERDICT} == {LEAKING})"
    return [
        number(
            About(
                101,
                "Processes",
                "Processes that report.",
                "Fewer than expected: a process died, or its telemetry does not "
                "arrive. Compare with what should run.",
                6,
                [Query(or_zero(f"count({select(semconv.PROCESS_RSS)})"))],
            )
        ),
        number(
            About(
                102,
                f"At {WARNING} of the limit or above",
                "Processes whose container takes that much of its limit, file cache "
                "not counted. At 100 % the kernel kills.",
                "Open the first rows of the table below.",
                6,
                [Query(or_zero(near))],
            ),
            steps=looks.NONE_IS_GOOD,
        ),
        number(
            About(
                103,
                "Leaking",
                "Processes whose verdict is `leaking`: steady growth after warm-up "
                "that traffic does not explain.",
                "Open the process, then Spans: what grows there by completed span is "
                "the suspect.",
                6,
                [Query(or_zero(leaking))],
            ),
            steps=looks.NONE_IS_GOOD,
        ),
        number(
            About(
                104,
                "Alerts that fire",
                "Alerts of otel-memory's rules that fire now, for the chosen services.",
                "The table *Who fires* names them; each has a runbook. `no rules`: "
                "this data source evaluates none of them.",
                6,
                [Query(f"count({frame.FIRING}) or 0 * count({RECORDED})")],
            ),
            steps=looks.NONE_IS_GOOD,
            absent="no rules",
        ),
    ]


def _against_limits() -> Panel:
    def newest(expression: str) -> str:
        return by("max", PROCESS, expression)

    url = process_url("${__data.fields.Service}", "${__data.fields.Instance}")
    link: dict[str, object] = {"title": "Open the process", "url": url}
    return rows(
        About(
            201,
            "Processes against their limits",
            "One row for each process. *Used* is what counts against the container's "
            "limit and cannot be reclaimed, of all its processes; *to the limit* is "
            "how long it lasts at the present growth. Empty: no limit, no verdict yet, "
            "or no growth.",
            f"Sort by *of the limit*. Above {WARNING} open the process; raise the "
            "limit only once you know whether it is load or a leak.",
            17,
        ),
        [
            Label("Service", names.JOB),
            Label("Instance", names.INSTANCE, link),
        ],
        [
            Figure("Used", newest(select(semconv.LIMIT_USAGE)), looks.BYTES),
            Figure("Limit", newest(select(semconv.LIMIT)), looks.BYTES),
            Figure(
                "Of the limit",
                newest(USAGE_SHARE),
                looks.SHARE,
                looks.LIMIT_STEPS,
                "gauge",
                width_pixels=140,
            ),
            Figure("RSS", newest(select(semconv.PROCESS_RSS)), looks.BYTES),
            Figure(
                "Growth an hour",
                newest(select(semconv.GROWTH)),
                looks.BYTES,
                width_pixels=140,
            ),
            Figure(
                "To the limit",
                newest(SECONDS_LEFT),
                looks.SECONDS,
                width_pixels=110,
            ),
            Figure(
                "Verdict",
                newest(VERDICT),
                steps=looks.STATE_STEPS,
                cell="color-text",
                mappings=looks.state_mappings(),
                width_pixels=130,
            ),
            Figure("Up", newest(select(semconv.PROCESS_UPTIME)), looks.SECONDS),
        ],
        sort_by="Of the limit",
    )


def _nearest() -> Panel:
    return gauges(
        About(
            202,
            "Nearest to the limit",
            "Share of the limit that is taken, the largest processes.",
            f"From {WARNING} somebody should look, from {CRITICAL} now: one large "
            "request is enough for a kill. A click opens the process.",
            7,
            [Query(top(by("max", PROCESS, USAGE_SHARE)), "{{job}} {{instance}}")],
            looks.SHARE,
        ),
        steps=looks.LIMIT_STEPS,
        maximum=1,
        link=_link(),
    )


def _highest() -> Panel:
    return lines(
        About(
            203,
            "Share of the limit, by service",
            "The process of each service that is nearest to its limit.",
            "A line that climbs between deploys and falls with them hides a leak. One "
            "that follows the time of day is load: size for its peak.",
            12,
            [Query(by("max", SERVICE, USAGE_SHARE), "{{job}}")],
            looks.SHARE,
        ),
        steps=looks.LIMIT_STEPS,
    )


def _pressure() -> Panel:
    return lines(
        About(
            204,
            "Time waiting for memory, by service",
            "Share of time in which some task of the worst container waited for "
            "memory, as the kernel's pressure figures have it; of the machine, where "
            "the container has none.",
            f"Above {PRESSURE_SOME:.0%} requests are slow for "
            "want of memory: give it more, or run fewer workers, before the kernel "
            "kills.",
            12,
            [Query(by("max", SERVICE, rate(semconv.PRESSURE_SOME)), "{{job}}")],
            looks.SHARE,
        ),
        steps=PRESSURE_STEPS,
    )


def _growers() -> Panel:
    growth = by("max", PROCESS, select(semconv.GROWTH))
    return gauges(
        About(
            301,
            "Fastest growers, bytes an hour",
            "Growth of anonymous memory on its floor, by the last verdict of each "
            "process. Warm-up and garbage that waits for its collection are left out.",
            "Look at the verdict before you act: `growing` may be a cache or traffic. "
            "A click opens the process.",
            8,
            [Query(top(f"{growth} > 0"), "{{job}} {{instance}}")],
            looks.BYTES,
        ),
        steps=GROWTH_STEPS,
        link=_link(),
    )


def _growth() -> Panel:
    return lines(
        About(
            302,
            "Growth by service, bytes an hour",
            "The fastest process of each service, by its own verdict.",
            "Above the line for an hour or more it is worth a ticket: compare with "
            "the time of the last deploy.",
            8,
            [Query(by("max", SERVICE, select(semconv.GROWTH)), "{{job}}")],
            looks.BYTES,
        ),
        steps=GROWTH_STEPS,
        from_zero=False,
    )


def _verdicts() -> Panel:
    return lines(
        About(
            303,
            "Processes by verdict",
            "How many processes have each verdict. The first hour of a process is "
            "`not enough data`; before three and a quarter, growth is `warming up`.",
            "Where nothing ever gets beyond `warming up`, processes are replaced too "
            "soon to judge: use the growth of live heap on Spans.",
            8,
            [
                Query(or_zero(f"count({VERDICT} == {index})"), looks.state_text(state))
                for index, state in enumerate(semconv.LEAK_STATES)
            ],
        ),
        stacked=True,
        colors={
            f"^{looks.state_text(state)}$": looks.state_color(state)
            for state in semconv.LEAK_STATES
        },
    )


def _worst() -> Panel:
    return states(
        About(
            304,
            "Worst verdict of each service",
            "The worst verdict among the service's processes.",
            "Red: open the table above, sort by *verdict*, and look at that process's "
            "spans.",
            24,
            [Query(by("max", SERVICE, VERDICT), "{{job}}")],
        )
    )
