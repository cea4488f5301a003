# SPDX-License-Identifier: Apache-2.0
"""The stack's files: accepted by what reads them, and in agreement with each other.

Nothing here starts a container.
"""

from __future__ import annotations

import re

import pytest

from . import servers
from .rule_files import rules_of_prometheus
from .stack_files import (
    ALERTMANAGER,
    COLLECTOR,
    PROMETHEUS,
    SCRAPE,
    SERVICES,
    STACK,
    read,
)

pytestmark = pytest.mark.stack

# --- Accepted by what reads them ---------------------------------------------


def debian_promtool() -> str:
    return servers.of_debian("promtool", "prometheus")


def debian_amtool() -> str:
    return servers.of_debian("amtool", "prometheus-alertmanager")


@pytest.mark.parametrize(
    ("tool", "path"),
    [
        (lambda: servers.built("promtool"), PROMETHEUS),
        (lambda: servers.built("promtool"), SCRAPE),
        (debian_promtool, SCRAPE),  # 2.42; it knows no OTLP
    ],
    ids=["3-otlp", "3-scrape", "2-scrape"],
)
def test_promtool_accepts_prometheus_files_and_their_rules(tool, path):
    status, said = servers.run(tool(), "check", "config", path)
    assert status == 0, said
    assert f"SUCCESS: {len(rules_of_prometheus())} rules found" in said


AMTOOLS = pytest.mark.parametrize(
    "tool",
    [lambda: servers.built("amtool"), debian_amtool],
    ids=["newest", "debian"],
)


@AMTOOLS
def test_amtool_accepts_the_alertmanagers(tool):
    status, said = servers.run(tool(), "check-config", ALERTMANAGER)
    assert status == 0, said


@AMTOOLS
@pytest.mark.parametrize(
    ("label", "receiver"),
    [
        ("severity=critical", "on-call"),
        ("severity=warning", "tickets"),
        ("severity=info", "nobody"),
        ("severity=page", "tickets"),
    ],
)
def test_severities_reach_who_has_to_do_something(tool, label, receiver):
    routes = ("config", "routes", "test", f"--config.file={ALERTMANAGER}")
    status, said = servers.run(
        tool(), *routes, f"--verify.receivers={receiver}", label, "job=shop"
    )
    assert status == 0, said


def test_the_collector_accepts_its_file():
    collector = servers.built("otelcol")
    status, said = servers.run(collector, "validate", f"--config={COLLECTOR}")
    assert status == 0, said


def test_the_collector_notices_what_is_wrong(tmp_path):
    wrong = tmp_path / "config.yaml"
    wrong.write_text(COLLECTOR.read_text().replace("check_interval", "check_each"))
    status, said = servers.run(
        servers.built("otelcol"), "validate", f"--config={wrong}"
    )
    assert status != 0
    assert "check_each" in said


def test_memory_is_limited_first_in_every_pipeline():
    for pipeline in read(COLLECTOR)["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"


# --- Versions ----------------------------------------------------------------


def required(module: str, name: str) -> str:
    text = (STACK / module / "go.mod").read_text()
    found = re.search(rf"^\s*{re.escape(name)} v(\S+)", text, re.MULTILINE)
    assert found, name
    return found[1]


def test_what_is_tested_is_what_is_started():
    def tag(service: str) -> str:
        return SERVICES[service]["image"].rpartition(":")[2].removeprefix("v")

    builder = read(STACK / "collector/builder.yaml")
    assert builder["dist"]["version"] == tag("otelcol")
    core = required("collector", "go.opentelemetry.io/collector/service")
    assert core == required("builder", "go.opentelemetry.io/collector/cmd/builder")
    assert core == tag("otelcol")
    # Prometheus 3.13 is the module's 0.313; patches differ.
    module = required("prometheus", "github.com/prometheus/prometheus")
    major, minor, _ = tag("prometheus").split(".")
    assert module.split(".")[1] == f"{major}{int(minor):02}"
    assert required("amtool", "github.com/prometheus/alertmanager") == tag(
        "alertmanager"
    )


def test_the_tests_collector_has_the_parts_that_the_file_names():
    """And the contrib image has them all, which the tests' need not."""
    builder = read(STACK / "collector/builder.yaml")
    content = read(COLLECTOR)
    for kind in ("extensions", "receivers", "processors", "exporters"):
        assert len(builder[kind]) == len({key.split("/")[0] for key in content[kind]})
