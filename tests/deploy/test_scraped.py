# SPDX-License-Identifier: Apache-2.0
"""From the shop to whoever is told of it, by what Debian has: a scrape, and no OTLP.

The shop under traffic with opentelemetry-exporter-prometheus, Prometheus 2.42 with our
rules, Alertmanager 0.25, a webhook.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import parts, servers
from .listeners import Webhook
from .parts import SCRAPED_JOB
from .stack_files import SCRAPE, read

pytestmark = pytest.mark.extension

LIMIT = "192MiB"
AT_LIMIT = "OTelMemoryAtLimit"
RATIO = f'otel_memory:limit_usage:ratio{{job="{SCRAPED_JOB}"}}'


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as listening:
        yield listening


@pytest.fixture
def port() -> Iterator[int]:
    with servers.reserved_port() as reserved:
        yield reserved


@pytest.fixture
def prometheus(
    tmp_path: Path, webhook: Webhook, port: int
) -> Iterator[tuple[servers.Server, servers.Api]]:
    program = servers.of_debian("prometheus", "prometheus")
    with parts.alertmanager(tmp_path, webhook.url) as alertmanager:
        alerts_at = alertmanager.find(servers.LISTENING)
        ports = {SCRAPED_JOB: port}
        with parts.prometheus(
            tmp_path, program, read(SCRAPE), alerts_at, ports
        ) as server:
            yield server, servers.Api(server.find(servers.LISTENING))


def test_a_shop_that_is_scraped_gets_somebody_up(tmp_path, webhook, prometheus, port):
    server, api = prometheus
    variables = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        "OTEL_PYTHON_MEMORY_LIMIT": LIMIT,
    }
    with parts.process(tmp_path, "shop", parts.SHOP, "--serve", **variables) as shop:
        shop_at = parts.open_shop(shop)
        usage = server.until(lambda: api.value(RATIO), f"{RATIO} is recorded")
        assert usage < 0.8
        assert webhook.all() == []
        parts.drive(shop_at, 450, f"1 {parts.LEAKING}")  # 150 MiB
        _, alert = webhook.told("on-call", AT_LIMIT, SCRAPED_JOB)
    assert alert["labels"]["severity"] == "critical"
    assert alert["labels"]["instance"] == f"127.0.0.1:{port}"
    assert alert["annotations"]["runbook_url"].endswith("/at-limit.md")
