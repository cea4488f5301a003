# SPDX-License-Identifier: Apache-2.0
"""From a process's memory to whoever is told of it, by real servers all the way.

examples/shop under opentelemetry-instrument, OTLP, the Collector, Prometheus 3 with our
rules, Alertmanager, a webhook.
"""

from __future__ import annotations

import re
import signal

import pytest

from deploy import names, scale
from otel_memory import semconv

from . import parts, servers
from .parts import NAMESPACE, SCRAPED_JOB
from .pipeline import (
    EVERYTHING_JOB,
    SHOP_JOB,
    Pipeline,
    names_of,
    used_series,
)
from .rule_files import PROMETHEUS as RULES
from .stack_files import read

pytestmark = [pytest.mark.extension, pytest.mark.stack]

LIMIT = "160MiB"
NEAR, AT = "OTelMemoryNearLimit", "OTelMemoryAtLimit"
RESTART, LEAK = "OTelMemoryOOMRestart", "OTelMemoryLeak"
# What this machine, or a process's first minutes, may not have.
MAY_BE_ABSENT = {
    semconv.LIMIT_EVENTS,
    semconv.OOM_KILLS,
    semconv.PRESSURE_SOME,
    semconv.PRESSURE_FULL,
    semconv.GROWTH,
}


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
    def instances() -> dict[str, set[str]]:
        by_job: dict[str, set[str]] = {}
        for each in stack.prometheus.query(names.series(semconv.PROCESS_UPTIME)):
            labels = each["metric"]
            by_job.setdefault(labels["job"], set()).add(labels["instance"])
        return by_job

    stack.server.until(lambda: {SHOP_JOB, SCRAPED_JOB} <= instances().keys(), "both")
    by_job = instances()
    assert len(by_job[SHOP_JOB]) == 1
    assert re.fullmatch(r"[0-9a-f-]{36}", *by_job[SHOP_JOB])
    assert by_job[SCRAPED_JOB] == {f"127.0.0.1:{stack.scraped_port}"}


def test_scopes_are_off_the_scraped_series(stack, everything):
    query = f'{names.series(semconv.PROCESS_RSS)}{{job="{SCRAPED_JOB}"}}'
    (found,) = stack.server.until(
        lambda: stack.prometheus.query(query), "it is scraped"
    )
    assert set(found["metric"]) == {"__name__", "job", "instance"}


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


# --- Who may ask ---------------------------------------------------------------


def test_a_page_of_another_site_can_read_nothing_and_stop_nothing(stack):
    """A browser sends what any page asks for, and gives it what Origin allows."""
    url = f"{stack.prometheus.url}/api/v1/query?query=1"
    status, headers = servers.answer(url, Origin="https://example.com")
    assert status == 200
    assert "Access-Control-Allow-Origin" not in headers
    status, _ = servers.answer(f"{stack.prometheus.url}/-/reload", b"")
    assert status == 403


def test_files_are_read_anew_at_a_signal(stack):
    name = "prometheus_config_last_reload_success_timestamp_seconds"

    def loaded() -> str:
        said = servers.fetch(f"{stack.prometheus.url}/metrics")
        (found,) = re.findall(rf"^{name} (\S+)", said, re.MULTILINE)
        return found

    before = loaded()
    stack.server.process.send_signal(signal.SIGHUP)
    stack.server.until(lambda: loaded() != before, "its file is loaded again")


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
            parts.drive(self.port, requests, f"1 {parts.LEAKING}", seed=self.sent)
            self.sent += requests
            self.stack.until_counted(self.job, self.sent)
        raise AssertionError(f"{value} is not {share}")


def state_of(stack: Pipeline, title: str, job: str) -> list[str]:
    chosen = f'alertname="{title}"'
    alerts = stack.alertmanager.get("/api/v2/alerts", filter=chosen)
    return [a["status"]["state"] for a in alerts if a["labels"]["job"] == job]


def test_a_shop_that_fills_its_limit(stack):
    job = f"{NAMESPACE}/full"
    webhook = stack.webhook
    with stack.process(
        "full", parts.SHOP, "--serve", OTEL_PYTHON_MEMORY_LIMIT=LIMIT
    ) as process:
        shop = Growing(stack, job, parts.open_shop(process))
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
    rules = read(RULES)
    for group in rules["groups"]:
        hurried = parts.hurried(group)
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
    text = RULES.read_text()
    assert alerts == set(re.findall(r"alert: (\w+)", text))
    assert {r["health"] for g in loaded for r in g["rules"]} <= {"ok", "unknown"}
