# SPDX-License-Identifier: Apache-2.0
"""The dashboard *Process*: what one process takes, and why."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana import frame, looks, process_container, process_health
from deploy.grafana.figures import (
    CRITICAL,
    FORECAST,
    GROWTH_STEPS,
    LEFT_STEPS,
    SECONDS_LEFT,
    USAGE_SHARE,
    VERDICT,
    WARNING,
)
from deploy.grafana.frame import Section
from deploy.grafana.panels import ONE, About, Panel, each, lines, number, states
from deploy.grafana.promql import (
    select,
)
from otel_memory import semconv


def build() -> models.Dashboard:
    """Build the dashboard."""
    return frame.dashboard(
        "process",
        "One process: choose it as the instance. What it takes, how it grows, what "
        "the container and the garbage collector say, and whether the figures can be "
        "trusted. With all instances chosen each panel has a line for each.",
        [
            Section(100, "Now", [(4, _now())]),
            Section(200, "Memory", [(11, [_memory(), _share()])]),
            Section(300, "Growth", [(5, [_verdict()]), (8, [_growth(), _left()])]),
            *process_container.sections(),
            *process_health.sections(),
        ],
        annotations=[
            frame.firing(),
            frame.raised(),
            frame.restarts(),
            frame.kills(),
        ],
    )


def _now() -> list[Panel]:
    return [
        number(
            About(
                101,
                "Of the limit",
                "What counts against the container's limit and cannot be reclaimed, "
                "as a share of it.",
                f"From {WARNING} find out who holds it (Spans), from "
                f"{CRITICAL} take load off or raise the limit first.",
                4,
                [each(USAGE_SHARE)],
                looks.SHARE,
            ),
            steps=looks.LIMIT_STEPS,
            absent="no limit",
        ),
        number(
            About(
                102,
                "To the limit",
                "How long what is left lasts at the present growth.",
                f"Below {FORECAST} plan a restart outside of peak "
                "hours, and look for the leak. Nothing here: no growth, no verdict "
                "yet, or no limit.",
                4,
                [each(SECONDS_LEFT)],
                looks.SECONDS,
            ),
            steps=LEFT_STEPS,
            absent="no growth",
        ),
        number(
            About(
                103,
                "RSS",
                "Resident memory of the process, shared and file pages included.",
                "Compare with *Anonymous* below: what RSS has more are files and "
                "libraries, which do not leak.",
                4,
                [each(select(semconv.PROCESS_RSS))],
                looks.BYTES,
            )
        ),
        number(
            About(
                104,
                "Verdict",
                "What the process itself says of its memory over the last hours.",
                "`leaking`: go to Spans. `growing`: look again in two hours. `warming "
                "up`: it grows, and is younger than three and a quarter hours.",
                4,
                [each(VERDICT)],
            ),
            steps=looks.STATE_STEPS,
            mappings=looks.state_mappings(),
        ),
        number(
            About(
                105,
                "Growth an hour",
                "Growth of anonymous memory on its floor, by the last verdict.",
                "Read it together with the verdict: alone it calls every warm-up a "
                "leak.",
                4,
                [each(select(semconv.GROWTH))],
                looks.BYTES,
            ),
            steps=GROWTH_STEPS,
            absent="no verdict",
        ),
        number(
            About(
                106,
                "Up",
                "Time since the process started.",
                "Younger than you expect: it was restarted. Fleet shows kills.",
                4,
                [each(select(semconv.PROCESS_UPTIME))],
                looks.SECONDS,
            )
        ),
    ]


def _memory() -> Panel:
    figures = {
        "RSS": semconv.PROCESS_RSS,
        "anonymous": semconv.PROCESS_ANONYMOUS,
        "heap": semconv.HEAP_USAGE,
        "largest RSS ever": semconv.PROCESS_PEAK,
        "against the limit": semconv.LIMIT_USAGE,
        "limit": semconv.LIMIT,
    }
    return lines(
        About(
            201,
            "Memory and its limit",
            "*RSS* is what is resident, *anonymous* is RSS without file and shared "
            "pages, *heap* is what Python's allocators handed out and have not got "
            "back, *against the limit* is the whole container's.",
            "Heap climbs with anonymous: objects are kept, go to Spans. Anonymous "
            "climbs alone: native memory or fragmentation, so look at C extensions. "
            "*Against the limit* far above RSS: other processes of the container, or "
            "its tmpfs.",
            16,
            [each(select(metric), f"{text} {ONE}") for text, metric in figures.items()],
            looks.BYTES,
        ),
        colors={"^limit ": looks.WORST, "^against the limit ": "purple"},
        dashed="^(limit|largest RSS ever) ",
        beside=True,
    )


def _share() -> Panel:
    return lines(
        About(
            202,
            "Share of the limit",
            "What counts against the limit, divided by it; the lines are where alerts "
            "begin.",
            "Peaks that touch the line and fall again are single large requests: see "
            "Spans, *Largest single span*. A floor that rises is held memory.",
            8,
            [each(USAGE_SHARE)],
            looks.SHARE,
        ),
        steps=looks.LIMIT_STEPS,
    )


def _verdict() -> Panel:
    return states(
        About(
            301,
            "Verdict over time",
            "Every five minutes the process judges its last hours: floors rather than "
            "teeth, without warm-up, and set against its traffic.",
            "A change to orange or red: see what was deployed or what load changed "
            "then. One that returns to green by itself was a cache or traffic.",
            24,
            [each(VERDICT)],
        )
    )


def _growth() -> Panel:
    return lines(
        About(
            302,
            "Growth, bytes an hour",
            "The slope behind the verdict.",
            "Even and above the line: a leak, or a cache that fills in a straight "
            "line. Falling towards zero: a cache that is nearly full; wait.",
            12,
            [each(select(semconv.GROWTH))],
            looks.BYTES,
        ),
        steps=GROWTH_STEPS,
        from_zero=False,
    )


def _left() -> Panel:
    return lines(
        About(
            303,
            "Time to the limit",
            "What is left to the limit, divided by the growth; only while there is "
            "growth.",
            f"Below the red line, {FORECAST}, restart at a moment "
            "of your choice rather than the kernel's.",
            12,
            [each(SECONDS_LEFT)],
            looks.SECONDS,
        ),
        steps=LEFT_STEPS,
    )
