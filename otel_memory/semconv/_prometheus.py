# SPDX-License-Identifier: Apache-2.0
"""What Prometheus calls a metric: by its own OTLP receiver and by a scrape alike."""

from __future__ import annotations

import re

from otel_memory.semconv._metrics import Kind, Metric

# Only the units of the table; another one is to be looked up first. "1" is left out
# on purpose: a gauge with it has two names, with "_ratio" and without.
_SUFFIX_BY_UNIT = {"By": ["bytes"], "By/h": ["bytes", "per", "hour"], "s": ["seconds"]}


def prometheus_name(metric: Metric) -> str:
    """Give the name under which Prometheus knows a metric by default.

    A histogram's series have `_bucket`, `_sum` and `_count` after it.

    Raises:
        KeyError: The unit's suffix is not known.
    """
    tokens = re.findall("[A-Za-z0-9]+", metric.name)
    is_annotation = metric.unit.startswith("{") and metric.unit.endswith("}")
    suffix = [] if is_annotation else _SUFFIX_BY_UNIT[metric.unit]
    tokens += [token for token in suffix if token not in tokens]
    if metric.kind is Kind.OBSERVABLE_COUNTER:
        tokens = [token for token in tokens if token != "total"] + ["total"]
    return "_".join(tokens)
