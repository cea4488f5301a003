# SPDX-License-Identifier: Apache-2.0
"""The same series in VictoriaMetrics, by its own OTLP and our relabelling."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from deploy import names
from otel_memory import semconv

from . import parts, servers
from .parts import NAMESPACE
from .pipeline import names_of, used_series

pytestmark = pytest.mark.stack

JOB = f"{NAMESPACE}/elsewhere"
FOREIGN = {"job": "node", "instance": "10.0.0.1:9100", "scope_name": "host"}


@pytest.fixture(scope="module")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Api]:
    with parts.victoriametrics(tmp_path_factory.mktemp("victoria")) as api:
        yield api


@pytest.mark.extension
def test_victoriametrics_has_the_same_names_and_labels(victoria, tmp_path):
    to = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": (
            f"{victoria.url}/opentelemetry/v1/metrics"
        ),
    }
    with parts.process(tmp_path, "elsewhere", parts.EVERYTHING, **to) as process:
        used = used_series()
        process.until(
            lambda: used <= names_of(victoria, JOB),
            lambda: f"{sorted(used - names_of(victoria, JOB))} of {JOB}",
        )
        rss = f'{names.series(semconv.PROCESS_RSS)}{{job="{JOB}"}}'
        (found,) = victoria.query(rss)
        assert re.fullmatch(r"[0-9a-f-]{36}", found["metric"]["instance"])
        assert not [k for k in found["metric"] if k.startswith(("scope_", "telemetry"))]
        usage, limit = map(names.series, (semconv.LIMIT_USAGE, semconv.LIMIT))
        assert victoria.query(f'{usage}{{job="{JOB}"}} / {limit}')


@pytest.mark.parametrize(
    "labels",
    [
        FOREIGN,
        # What a scrape of opentelemetry-exporter-prometheus brings as target_info.
        FOREIGN | {"service_name": "cart", "service_instance_id": "7"},
        {"scope_name": "none of ours"},
    ],
    ids=["scraped", "target_info", "without-a-job"],
)
def test_series_that_are_not_from_otlp_are_left_alone(victoria, tmp_path, labels):
    series = {"__name__": "node_load1", **labels}
    now_ms = time.time_ns() // 10**6
    line = json.dumps({"metric": series, "values": [0.5], "timestamps": [now_ms]})
    status, _ = servers.answer(f"{victoria.url}/api/v1/import", line.encode())
    assert status == 204
    servers.fetch(f"{victoria.url}/internal/force_flush")
    chosen = json.loads(
        servers.fetch(f"{victoria.url}/api/v1/series", **{"match[]": "node_load1"})
    )
    assert series in chosen["data"]
