# SPDX-License-Identifier: Apache-2.0
"""What the scripts about metrics share: a process in which every row has a value."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from _tools import MIB, start, telemetry
from opentelemetry.trace import SpanKind

from otel_memory import metrics, semconv
from otel_memory.leaks import Assessment
from otel_memory.process import open_readings

FIXTURES = Path(__file__).parents[1] / "fixtures"
ASSESSMENT = Assessment("leaking", 30.5 * MIB, (20.5 * MIB, 40.5 * MIB), 3600.0)


def recorded_readings():
    """Readings of a process in a container with a limit, pressure and swap.

    Few machines have all of these, so its files were recorded.
    """
    root = Path(tempfile.mkdtemp())
    for recorded in ("cgroup/v2-container", "proc/worker"):
        shutil.copytree(FIXTURES / recorded, root, dirs_exist_ok=True)
    return open_readings(str(root))


def know_everything():
    """Let the instruments read what only some processes know; in this one, too."""
    readout = metrics.current()
    readout.readings = recorded_readings()
    readout.findings.assessment = ASSESSMENT
    readout.findings.details = readout.readings.details()


def drain():
    """As the watcher does: record the entry spans that have ended."""
    readout = metrics.current()
    if readout is not None:
        metrics.record_entries(readout.source.take_entries())


def start_with_spans(**config):
    """Start, and end one span of each kind."""
    tracer = start(interval_seconds=3600, **config)
    drain()
    for kind in SpanKind:
        with tracer.start_as_current_span(f"a {kind.name}", kind=kind):
            block = bytes(MIB)
    del block
    drain()
    return tracer


def collected(reader=None):
    """Collect once: {metric name: metric}; no name twice, whatever its scope."""
    found = {}
    data = (reader or telemetry.reader).get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert metric.name.lower() not in found, metric.name
                found[metric.name.lower()] = metric
    return found


def scopes(reader=None):
    """Collect once: {scope name: names of its metrics}."""
    data = (reader or telemetry.reader).get_metrics_data()
    return {
        scope.scope.name: {metric.name for metric in scope.metrics}
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
    }


TABLE = {metric.name: metric for metric in semconv.METRICS}
CONVENTIONS = {metric.name: metric for metric in semconv.CONVENTION_METRICS}
