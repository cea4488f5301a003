# SPDX-License-Identifier: Apache-2.0
"""PromQL by name of metric: what every target selects and how it is summed up.

Each selector holds to the services and processes that the dashboard has chosen, and
each rate to Grafana's own interval. Series of one process differ by nothing but their
attributes, so two metrics with equal attributes join without `on`.
"""

from __future__ import annotations

from deploy import names
from otel_memory.semconv import Metric

CHOSEN = f'{names.JOB}=~"$job",{names.INSTANCE}=~"$instance"'
SERVICE = (names.JOB,)
PROCESS = (names.JOB, names.INSTANCE)
HOUR_SECONDS = 3600


def choose(name: str, *matchers: str) -> str:
    """Select the chosen processes' series of a name."""
    return f"{name}{{{','.join((CHOSEN, *matchers))}}}"


def select(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """Select a metric's series of the chosen processes."""
    return choose(names.series(metric, suffix), *matchers)


def rate(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """Give a counter's increase by second."""
    return f"rate({select(metric, *matchers, suffix=suffix)}[$__rate_interval])"


def increase(metric: Metric, *matchers: str) -> str:
    """Give a counter's increase between two points of the chart."""
    return f"increase({select(metric, *matchers)}[$__rate_interval])"


def by(function: str, labels: tuple[str, ...], expression: str) -> str:
    """Aggregate, so that only these labels are left."""
    return f"{function} by ({', '.join(labels)}) ({expression})"


def top(expression: str) -> str:
    """Keep the largest ones, as many as a chart can show."""
    return f"topk({names.SETTINGS['panels']['largest']}, {expression})"


def or_zero(expression: str) -> str:
    """Let a count of nothing be 0 and not absent."""
    return f"{expression} or vector(0)"


def one_of(label: str, *values: str) -> str:
    """Match a label with any of these values, none of which is a pattern."""
    return f'{label}=~"{"|".join(values)}"'


def equals(label: str, value: str) -> str:
    """Match a label with one value."""
    return f'{label}="{value}"'
