# SPDX-License-Identifier: Apache-2.0
"""What is lost on the way: whose it is, and where that is counted.

Prometheus refuses a request as a whole when one of its points is bad.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE,
)

from deploy.rules import collector

from . import parts, pipeline, servers
from .stack_files import PAGES

pytestmark = pytest.mark.stack

HOUR = 3600 * 10**9  # OTLP has nanoseconds
STARTED = time.time_ns()
REFUSED, NO_ROOM = collector.COUNTERS
LOST = "OTelMemoryTelemetryLost"
WATCHED = f'up{{job="{collector.JOB}"}}'


def send(endpoint: str, service: str, *points: dict[str, Any]) -> int:
    """Send points of a gauge, as a process does; the answer's status."""
    metric = {"name": "neighbour", "gauge": {"dataPoints": points}}
    name = {"key": "service.name", "value": {"stringValue": service}}
    resource = {
        "resource": {"attributes": [name]},
        "scopeMetrics": [{"metrics": [metric]}],
    }
    status, _ = servers.answer(
        f"{endpoint}/v1/metrics",
        json.dumps({"resourceMetrics": [resource]}).encode(),
        Content_Type="application/json",
    )
    return status


def point(time_ns: int, value: float = 1.0) -> dict[str, Any]:
    return {"timeUnixNano": str(time_ns), "asDouble": value}


def now() -> dict[str, Any]:
    return point(time.time_ns())


def at(offset_ns: int) -> list[dict[str, Any]]:
    return [point(time.time_ns() + offset_ns)]


BAD = {
    "behind": lambda: at(-3 * HOUR),
    "ahead": lambda: at(2 * HOUR),
    "twice": lambda: [point(STARTED, time.monotonic())],  # another value each time
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sender_loses_its_own_points_alone(stack, name):
    lost = f'sum({REFUSED}{{job="{collector.JOB}"}})'
    before = stack.prometheus.value(lost) or 0
    good = [f"{name}-{number}" for number in range(4)]
    for each in good:
        assert send(stack.endpoint, each, now()) == 200
        assert send(stack.endpoint, "bad", *BAD[name]()) == 200  # it is not told

    def arrived() -> set[str]:
        found = stack.prometheus.query(f'neighbour{{job=~"{name}-.+"}}')
        return {each["metric"]["job"] for each in found}

    stack.server.until(
        lambda: (stack.prometheus.value(lost) or 0) > before, f"{lost} is more"
    )
    # Whatever was with the bad ones is there by now, or never: they go one by one.
    assert arrived() == set(good)


def test_somebody_is_told_of_it(stack):
    send(stack.endpoint, "lost", *at(2 * HOUR))
    _, alert = stack.webhook.told("tickets", LOST, collector.JOB)
    assert alert["labels"]["severity"] == "warning"


@pytest.mark.extension
def test_deltas_are_added_up(stack):
    variables = {OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: "delta"}
    with stack.process("deltas", parts.SHOP, "--serve", **variables) as process:
        port = parts.open_shop(process)
        for seed in range(2):
            parts.drive(port, 30, *pipeline.MIX, seed=seed)
            stack.until_counted(f"{parts.NAMESPACE}/deltas", 30 * (seed + 1))


def test_points_that_find_no_room_are_counted(stack, tmp_path):
    """Nobody listens where this Collector sends to."""
    health, receiver, nobody, spans = (
        f"127.0.0.1:{servers.free_port()}" for _ in range(4)
    )
    port = servers.free_port()
    with parts.collector(
        tmp_path, health, receiver, nobody, spans, port, queue_size=1
    ) as crowded:
        crowded.until(lambda: servers.fetch(f"http://{health}"), "it is up")
        statuses = {send(f"http://{receiver}", "crowd", now()) for _ in range(8)}
        said = servers.fetch(f"http://127.0.0.1:{port}/metrics")
    assert statuses == {200, 503}  # these senders are told, and try again
    exporter = 'exporter="otlp_http/prometheus"'
    assert re.search(rf"^{NO_ROOM}{{[^}}]*{exporter}[^}}]*}} [1-9]", said, re.MULTILINE)


def test_the_page_names_what_is_counted(stack):
    page = PAGES[0].read_text()
    assert set(re.findall(r"\botelcol_\w+", page)) == {REFUSED, NO_ROOM}
    assert WATCHED in page
    stack.server.until(lambda: stack.prometheus.value(WATCHED) == 1, WATCHED)
