# SPDX-License-Identifier: Apache-2.0
"""From a process's memory to whoever is told of it, by real servers all the way.

examples/shop under opentelemetry-instrument, OTLP, the Collector, Prometheus 3 with our
rules, Alertmanager, a webhook; and Jaeger, which keeps the spans.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE,
)

from deploy import names, scale
from otel_memory import semconv

from . import dashboards, pipeline, servers
from .pipeline import NAMESPACE, SCRAPED_JOB, Pipeline

pytestmark = pytest.mark.extension

RULES = pipeline.DEPLOY / "prometheus/otel-memory.rules.yml"
STACK_PAGE = pipeline.ROOT / "docs/stack.md"
LEAKING = "/recommend?session={1-4000000000}"
MIX = (f"6 {LEAKING}", "1 /products/{1-5000}", "1 /search?q=brass", "1 /reports/sales")
LIMIT = "160MiB"
NEAR, AT = "OTelMemoryNearLimit", "OTelMemoryAtLimit"
RESTART, LEAK = "OTelMemoryOOMRestart", "OTelMemoryLeak"
EVERYTHING_JOB = f"{NAMESPACE}/everything"
SHOP_JOB = f"{NAMESPACE}/shop"
# What this machine, or a process's first minutes, may not have.
MAY_BE_ABSENT = {
    semconv.LIMIT_EVENTS,
    semconv.OOM_KILLS,
    semconv.PRESSURE_SOME,
    semconv.PRESSURE_FULL,
    semconv.GROWTH,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with pipeline.running(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture(scope="module")
def everything(stack: Pipeline) -> Iterator[None]:
    """One process that goes both ways."""
    with stack.process(
        "everything",
        pipeline.EVERYTHING,
        OTEL_METRICS_EXPORTER="otlp,prometheus",
        OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(stack.scraped_port),
    ) as process:
        process.find("(it knows everything)")
        yield


@pytest.fixture(scope="module")
def shop(stack: Pipeline) -> Iterator[None]:
    """A shop that has answered some requests, as Prometheus knows by now."""
    with stack.process("shop", pipeline.SHOP, "--serve") as process:
        port = pipeline.open_shop(process)
        pipeline.drive(port, 60, *MIX)
        until_counted(stack, SHOP_JOB, 60)
        yield


def until_counted(stack: Pipeline, job: str, requests: int) -> None:
    """Wait until Prometheus knows of so many entry spans."""
    count = names.series(semconv.ENTRY_PEAK, "_count")
    stack.server.until(
        lambda: (
            (stack.prometheus.value(f'sum({count}{{job="{job}"}})') or 0) >= requests
        ),
        f"{requests} requests to {job} are counted",
    )


def used_series() -> set[str]:
    """Name all series that panels and rules ask for, but recorded ones."""
    expressions = [each.values[0] for each in dashboards.EXPRESSIONS]
    groups = yaml.safe_load(RULES.read_text())["groups"]
    expressions += [rule["expr"] for group in groups for rule in group["rules"]]
    found = {
        selector.name
        for expression in expressions
        for selector, _ in dashboards.selectors(dashboards.parse(expression))
    }
    return {name for name in found if ":" not in name} - set(dashboards.OF_PROMETHEUS)


def names_of(api: servers.Api, job: str) -> set[str]:
    found = api.query(f'count by (__name__) ({{job="{job}"}})')
    return {each["metric"]["__name__"] for each in found}


# --- Names -------------------------------------------------------------------


@pytest.mark.parametrize("job", [EVERYTHING_JOB, SCRAPED_JOB], ids=["otlp", "scrape"])
def test_every_name_in_a_panel_or_a_rule_arrives(stack, everything, job):
    used = used_series()
    assert used
    stack.server.until(
        lambda: used <= names_of(stack.prometheus, job),
        f"all of {sorted(used)} of {job}",
    )


@pytest.mark.parametrize("job", [EVERYTHING_JOB, SCRAPED_JOB], ids=["otlp", "scrape"])
def test_rules_join_what_arrives(stack, everything, job):
    ratio = f'otel_memory:limit_usage:ratio{{job="{job}"}}'
    stack.server.until(lambda: stack.prometheus.query(ratio), f"{ratio} is recorded")


def test_the_shop_has_all_that_the_machine_has(stack, shop):
    limits = {semconv.LIMIT, semconv.LIMIT_USAGE}
    absent = {names.series(metric) for metric in MAY_BE_ABSENT | limits}
    stack.server.until(
        lambda: used_series() - absent <= names_of(stack.prometheus, SHOP_JOB),
        f"all of {sorted(used_series() - absent)}",
    )


def test_a_process_is_told_from_others_of_its_service(stack, shop, everything):
    found = stack.prometheus.query(names.series(semconv.PROCESS_UPTIME))
    by_job: dict[str, set[str]] = {}
    for each in found:
        labels = each["metric"]
        by_job.setdefault(labels["job"], set()).add(labels["instance"])
    assert len(by_job[SHOP_JOB]) == 1
    assert re.fullmatch(r"[0-9a-f-]{36}", *by_job[SHOP_JOB])
    assert by_job[SCRAPED_JOB] == {f"127.0.0.1:{stack.scraped_port}"}


def test_scopes_are_off_the_scraped_series(stack, everything):
    query = f'{names.series(semconv.PROCESS_RSS)}{{job="{SCRAPED_JOB}"}}'
    (found,) = stack.server.until(
        lambda: stack.prometheus.query(query), "it is scraped"
    )
    assert set(found["metric"]) == {"__name__", "job", "instance"}


def test_victoriametrics_has_the_same_names_and_labels(stack):
    way = "/opentelemetry/v1/metrics"
    job = f"{NAMESPACE}/elsewhere"
    with (
        pipeline.victoriametrics(stack.folder) as victoria,
        stack.process(
            "elsewhere",
            pipeline.EVERYTHING,
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{victoria.url}{way}",
        ) as process,
    ):
        used = used_series()
        process.until(
            lambda: used <= names_of(victoria, job),
            lambda: f"{sorted(used - names_of(victoria, job))} of {job}",
        )
        rss = f'{names.series(semconv.PROCESS_RSS)}{{job="{job}"}}'
        (found,) = victoria.query(rss)
        assert re.fullmatch(r"[0-9a-f-]{36}", found["metric"]["instance"])
        assert not [k for k in found["metric"] if k.startswith(("scope_", "telemetry"))]
        usage, limit = map(names.series, (semconv.LIMIT_USAGE, semconv.LIMIT))
        assert victoria.query(f'{usage}{{job="{job}"}} / {limit}')


# --- Scale -------------------------------------------------------------------


def counts(stack: Pipeline, expression: str, label: str) -> dict[str, int]:
    query = f"count by ({label}) ({expression})"
    return {
        each["metric"].get(label, ""): int(each["value"][1])
        for each in stack.prometheus.query(query)
    }


@pytest.mark.parametrize("job", [SHOP_JOB, EVERYTHING_JOB])
def test_a_process_has_as_many_series_as_are_computed(stack, shop, everything, job):
    ours = {**names.all_series()}
    live, peak = (
        names.series(semconv.SPAN_LIVE),
        names.series(semconv.ENTRY_PEAK, "_sum"),
    )

    # Which of these there are depends on the version of cgroups.
    events = names.series(semconv.LIMIT_EVENTS)

    def compare() -> tuple[dict[str, int], int]:
        counted = {
            name: count
            for name, count in counts(stack, f'{{job="{job}"}}', "__name__").items()
            if name in ours and name != events
        }
        absent = frozenset(m for name, m in ours.items() if name not in counted)
        rows = counts(stack, f'{live}{{job="{job}"}}', names.SORT)
        entries = counted.get(peak, 0)
        expected = (
            scale.of_process(absent) + scale.of_entry() * entries + scale.of_rows(rows)
        )
        return counted, expected

    readings: list[tuple[dict[str, int], int]] = []

    def agrees() -> bool:
        readings.append(compare())
        counted, expected = readings[-1]
        return sum(counted.values()) == expected

    # What has changed its labels is there twice, for as long as Prometheus looks back.
    assert stack.server.until(agrees, lambda: f"it is as computed: {readings[-1]}")


# --- Traces ------------------------------------------------------------------


# What Jaeger calls the types of attributes; a list it keeps as JSON.
TYPES = {"int": ("int64", int), "bool": ("bool", bool), "string[]": ("string", str)}
SEARCHES = ("shop", "search_products")


def searches(stack: Pipeline) -> list[servers.Span]:
    """The spans of searches that the trace store has."""
    return stack.server.until(
        lambda: [s for s in stack.jaeger.find(*SEARCHES) if s.name == SEARCHES[1]],
        "searches are kept",
    )


def test_a_trace_is_found_by_what_a_span_took(stack, shop):
    span = searches(stack)[0]
    took = span.tags[semconv.SPAN_HEAP_DELTA]
    found = stack.jaeger.find("shop", **{semconv.SPAN_HEAP_DELTA: str(took.value)})
    assert span in found
    by_trace: dict[str, list[servers.Tag | None]] = {}
    for each in found:
        kept = by_trace.setdefault(each.trace_id, [])
        kept.append(each.tags.get(semconv.SPAN_HEAP_DELTA))
    assert all(took in tags for tags in by_trace.values())
    everything = {each.trace_id for each in stack.jaeger.find("shop")}
    assert by_trace.keys() < everything
    nothing = str(1 << 62)
    assert stack.jaeger.find("shop", **{semconv.SPAN_HEAP_DELTA: nothing}) == []


def test_spans_carry_what_they_took(stack, shop):
    spans = searches(stack)
    for span in spans:
        assert span.tags[semconv.SPAN_HEAP_ALLOCATED].value > 8 << 20
    # Not on each of them: a span may have been passed over by the sampler.
    tags = [s.tags.get(semconv.SPAN_HEAP_TOP_SITES) for s in spans]
    sites = [site for tag in tags if tag for site in json.loads(tag.value)]
    assert any("reports.py" in site for site in sites)


@pytest.mark.parametrize("attribute", semconv.SPAN_ATTRIBUTES, ids=lambda a: a.name)
def test_attributes_keep_their_types_on_the_way(stack, shop, attribute):
    found = stack.jaeger.find("shop")
    tags = [span.tags[attribute.name] for span in found if attribute.name in span.tags]
    assert tags
    for tag in tags:
        assert (tag.type, type(tag.value)) == TYPES[attribute.type]


def test_an_exemplar_leads_to_its_trace(stack, shop):
    series = names.series(semconv.ENTRY_PEAK, "_bucket")

    def exemplars() -> list[dict[str, Any]]:
        answer = stack.prometheus.get(
            "/api/v1/query_exemplars",
            query=f'{series}{{job="{SHOP_JOB}"}}',
            start="0",
            end="9999999999",
        )
        return [e for each in answer["data"] for e in each["exemplars"]]

    for each in stack.server.until(exemplars, "exemplars are kept"):
        trace = each["labels"]["trace_id"]
        stack.server.until(
            lambda trace=trace: stack.jaeger.trace(trace), f"trace {trace} is kept"
        )


# --- What is lost ------------------------------------------------------------


def test_what_is_lost_is_counted_under_the_name_that_is_told(stack, shop, everything):
    """Prometheus refuses deltas, as the same page says."""
    (name,) = set(re.findall(r"\botelcol_\w+", STACK_PAGE.read_text()))
    lost = f'sum({name}{{job="{pipeline.COLLECTOR_JOB}"}})'
    assert stack.prometheus.value(lost) is None
    variables = {OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: "delta"}
    with stack.process("deltas", "-c", "pass", **variables):
        stack.server.until(lambda: stack.prometheus.value(lost), f"{lost} is more")


# --- Who is told -------------------------------------------------------------


@pytest.mark.parametrize("job", [EVERYTHING_JOB, SCRAPED_JOB], ids=["otlp", "scrape"])
def test_a_leak_is_a_ticket(stack, everything, job):
    message, alert = stack.webhook.told("tickets", LEAK, job)
    assert message["groupLabels"] == {"job": job}
    assert alert["labels"]["severity"] == "warning"
    assert (
        "is leaking: it grows by 30.5MiB an hour" in alert["annotations"]["description"]
    )


class Growing:
    """A shop that holds as much of its limit as is wanted."""

    def __init__(self, stack: Pipeline, job: str, port: int) -> None:
        self.stack, self.job, self.port, self.sent = stack, job, port, 0

    def until(self, share: float) -> float:
        """Send requests that leak until so much is used; how much it is."""
        usage, limit = (names.series(m) for m in (semconv.LIMIT_USAGE, semconv.LIMIT))
        chosen = f'{{job="{self.job}"}}'
        ratio = f"{usage}{chosen} / {limit}{chosen}"
        for _ in range(100):
            value = self.stack.server.until(
                lambda: self.stack.prometheus.value(ratio), f"{ratio} is known"
            )
            if value >= share:
                return value
            # Of its limit, ten requests take two hundredths.
            requests = 30 if share - value > 0.1 else 10
            pipeline.drive(self.port, requests, f"1 {LEAKING}", seed=self.sent)
            self.sent += requests
            until_counted(self.stack, self.job, self.sent)
        raise AssertionError(f"{value} is not {share}")


def state_of(stack: Pipeline, title: str, job: str) -> list[str]:
    filters = (f'alertname="{title}"', f'job="{job}"')
    alerts = stack.alertmanager.get("/api/v2/alerts", filter=filters[0])
    return [a["status"]["state"] for a in alerts if a["labels"]["job"] == job]


def test_a_shop_that_fills_its_limit(stack):
    job = f"{NAMESPACE}/full"
    webhook = stack.webhook
    with stack.process(
        "full", pipeline.SHOP, "--serve", OTEL_PYTHON_MEMORY_LIMIT=LIMIT
    ) as process:
        shop = Growing(stack, job, pipeline.open_shop(process))
        # A ticket, as long as nobody has to get up.
        assert shop.until(0.82) < 0.9
        message, alert = webhook.told("tickets", NEAR, job)
        assert message["groupLabels"] == {"job": job}
        assert alert["labels"]["severity"] == "warning"
        assert alert["annotations"]["runbook_url"].endswith("/near-limit.md")
        instance = alert["labels"]["instance"]
        assert f"var-instance={instance}" in alert["annotations"]["dashboard_url"]
        # Somebody gets up, and needs no ticket any more.
        shop.until(0.93)
        _, alert = webhook.told("on-call", AT, job)
        assert alert["labels"]["severity"] == "critical"
        assert alert["labels"]["instance"] == instance
        stack.server.until(
            lambda: state_of(stack, NEAR, job) == ["suppressed"],
            f"{NEAR} is held back",
        )
        # The process itself speaks up, by the Collector's third pipeline.
        stack.collector.find(f"({semconv.EVENT_THRESHOLD_EXCEEDED})")
        process.process.kill()  # as the kernel does
    webhook.told("on-call", AT, job, "resolved")
    _, alert = webhook.told("tickets", RESTART, job)
    assert alert["labels"]["instance"] == instance
    assert ("nobody", NEAR) not in {entry[:2] for entry in webhook.all()}


# --- The copies --------------------------------------------------------------


def test_the_copy_of_the_rules_differs_in_times_alone():
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        hurried = pipeline.hurried(group)
        assert hurried["interval"] == "1s"
        for rule, copy in zip(group["rules"], hurried["rules"], strict=True):
            changed = {key for key in rule if rule[key] != copy[key]}
            assert changed <= {"expr", "for", "keep_firing_for"}
            plain = [
                re.sub(r"(?<![\w.])\d+[smhd]\b", "T", each["expr"])
                for each in (rule, copy)
            ]
            assert plain[0] == plain[1]


def test_the_copies_are_of_the_committed_files(stack: Pipeline):
    loaded = stack.prometheus.get("/api/v1/rules")["data"]["groups"]
    alerts = {r["name"] for g in loaded for r in g["rules"] if r["type"] == "alerting"}
    text = Path(RULES).read_text()
    assert alerts == set(re.findall(r"alert: (\w+)", text))
    assert {r["health"] for g in loaded for r in g["rules"]} <= {"ok", "unknown"}
