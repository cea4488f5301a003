# SPDX-License-Identifier: Apache-2.0
"""What dashboards and rules call things: series, labels and the shared settings.

No name of a metric or of its labels is written anywhere else in `deploy/`; all come
from `otel_memory.semconv`, so that renaming one breaks the build and no panel. Scripts
put the repository's root on the path and import this as `deploy.names`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tomllib

from otel_memory import semconv
from otel_memory.semconv import Kind, Metric

FOLDER = Path(__file__).parent
SETTINGS: dict[str, Any] = tomllib.loads((FOLDER / "settings.toml").read_text())
"""Thresholds, intervals, uids and addresses, as `settings.toml` has them."""

HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")

# What Prometheus itself puts on every series.
JOB = "job"
INSTANCE = "instance"
BUCKET = "le"

# A recording that every process has where rules are evaluated.
ANONYMOUS_FLOOR = "otel_memory:process_anonymous_bytes:floor"


def series(metric: Metric, suffix: str = "") -> str:
    """Name a metric's series in Prometheus.

    Args:
        metric: A row of the table of metrics.
        suffix: `_bucket`, `_sum` or `_count` of a histogram; of others nothing.

    Raises:
        ValueError: The table has no such row, or the suffix does not fit it.
    """
    if metric not in (*semconv.METRICS, *semconv.CONVENTION_METRICS):
        raise ValueError(f"{metric.name} is not in the table of metrics")
    allowed = HISTOGRAM_SUFFIXES if metric.kind is Kind.HISTOGRAM else ("",)
    if suffix not in allowed:
        raise ValueError(f"{metric.name} has {allowed}, not {suffix!r}")
    return semconv.prometheus_name(metric) + suffix


def all_series() -> dict[str, Metric]:
    """Give every series that we may emit, by its name in Prometheus."""
    return {
        series(metric, suffix): metric
        for metric in (*semconv.METRICS, *semconv.CONVENTION_METRICS)
        for suffix in (HISTOGRAM_SUFFIXES if metric.kind is Kind.HISTOGRAM else ("",))
    }


def label(attribute: str) -> str:
    """Name an attribute's label in Prometheus."""
    return re.sub("[^A-Za-z0-9]+", "_", attribute)


SPAN_NAME = label(semconv.ATTR_SPAN_NAME)
SPAN_KIND = label(semconv.ATTR_SPAN_KIND)
ENTRY = label(semconv.ATTR_ENTRY)
SORT = label(semconv.ATTR_SORT)
ALERT_KIND = label(semconv.ATTR_ALERT_KIND)
LIMIT_EVENT = label(semconv.ATTR_LIMIT_EVENT)
PRESSURE_SCOPE = label(semconv.ATTR_PRESSURE_SCOPE)
GC_GENERATION = label(semconv.ATTR_GC_GENERATION)
FAULT_TYPE = label(semconv.ATTR_PAGING_FAULT_TYPE)
HEAP_SOURCE = label(semconv.ATTR_HEAP_SOURCE)
HEAP_REASON = label(semconv.ATTR_HEAP_REASON)
NATIVE_COVERED = label(semconv.ATTR_HEAP_NATIVE_COVERED)
