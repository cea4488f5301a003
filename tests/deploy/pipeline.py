# SPDX-License-Identifier: Apache-2.0
"""The stack on the loopback, from where processes send to who is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy import names
from deploy.rules import collector as of_collector
from otel_memory import semconv

from . import dashboards, parts, servers
from .listeners import Webhook
from .parts import NAMESPACE
from .rule_files import rules_of_prometheus
from .servers import Api, Jaeger, Server, built, free_port
from .stack_files import PROMETHEUS, SCRAPE, read

EVERYTHING_JOB = f"{NAMESPACE}/everything"
SHOP_JOB = f"{NAMESPACE}/shop"
MIX = (
    f"6 {parts.LEAKING}",
    "1 /products/{1-5000}",
    "1 /search?q=brass",
    "1 /reports/sales",
)


@dataclass(frozen=True)
class Pipeline:
    """What runs.

    Attributes:
        folder: Of logs and copies.
        webhook: Who is told.
        alertmanager: Its answers.
        prometheus: Its answers.
        server: Prometheus's process, to wait by.
        collector: The Collector's process.
        endpoint: Where processes send to.
        jaeger: Its answers; the Collector sends it the spans.
        scraped_port: Where Prometheus scrapes a process.
    """

    folder: Path
    webhook: Webhook
    alertmanager: Api
    prometheus: Api
    server: Server
    collector: Server
    endpoint: str
    jaeger: Jaeger
    scraped_port: int

    def process(
        self, name: str, *command: str | Path, **variables: str
    ) -> AbstractContextManager[Server]:
        """Start a service that sends to the Collector."""
        to = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint}
        return parts.process(self.folder, name, *command, **(to | variables))

    def until_counted(self, job: str, requests: int) -> None:
        """Wait until Prometheus knows of so many entry spans."""
        counted = f'sum({names.series(semconv.ENTRY_PEAK, "_count")}{{job="{job}"}})'
        self.server.until(
            lambda: (self.prometheus.value(counted) or 0) >= requests,
            f"{requests} requests to {job} are counted",
        )


@contextmanager
def running(folder: Path) -> Iterator[Pipeline]:
    """Start all of it; end all of it."""
    with ExitStack() as stack:
        webhook = stack.enter_context(Webhook())
        alertmanager = stack.enter_context(parts.alertmanager(folder, webhook.url))
        alerts_at = alertmanager.find(servers.LISTENING)
        scraped_port, own_port = free_port(), free_port()
        content = read(PROMETHEUS)
        content["scrape_configs"] += read(SCRAPE)["scrape_configs"]
        ports = {parts.SCRAPED_JOB: scraped_port, of_collector.JOB: own_port}
        flags = parts.committed_flags()
        prometheus = stack.enter_context(
            parts.prometheus(
                folder, built("prometheus"), content, alerts_at, ports, *flags
            )
        )
        metrics_at = prometheus.find(servers.LISTENING)
        spans_to = f"127.0.0.1:{free_port()}"
        jaeger = stack.enter_context(parts.jaeger(folder, spans_to))
        traces_at = jaeger.find(parts.JAEGER_LISTENING)
        health, receiver = (f"127.0.0.1:{free_port()}" for _ in range(2))
        collector = stack.enter_context(
            parts.collector(folder, health, receiver, metrics_at, spans_to, own_port)
        )
        ready = ((prometheus, f"{metrics_at}/-/ready"), (collector, health))
        for server, address in ready:
            url = f"http://{address}"
            server.until(lambda url=url: servers.fetch(url), f"{url} answers")
        yield Pipeline(
            folder,
            webhook,
            Api(alerts_at),
            Api(metrics_at),
            prometheus,
            collector,
            f"http://{receiver}",
            Jaeger(traces_at),
            scraped_port,
        )


def used_series() -> set[str]:
    """Name all series of a process that panels and rules ask for."""
    expressions = [each.values[0] for each in dashboards.EXPRESSIONS]
    expressions += [rule["expr"] for rule in rules_of_prometheus()]
    found = {
        selector.name
        for expression in expressions
        for selector, _ in dashboards.selectors(dashboards.parse(expression))
    }
    # Not what is recorded, Prometheus's own, or the Collector's.
    return found & names.all_series().keys()


def names_of(api: Api, job: str) -> set[str]:
    """Name all series of a service that a store has."""
    found = api.query(f'count by (__name__) ({{job="{job}"}})')
    return {each["metric"]["__name__"] for each in found}
