# SPDX-License-Identifier: Apache-2.0
"""The stack's files: accepted by what reads them, and in agreement with each other.

Nothing here starts a container.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from . import servers
from .stack_files import (
    ALERTMANAGER,
    COLLECTOR,
    COMPOSE,
    DATA_SOURCES,
    DEPLOY,
    PROMETHEUS,
    ROOT,
    SCRAPE,
    SERVICES,
    STACK,
    TEMPO,
    mounted,
    read,
)

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
    rules = sum(len(group["rules"]) for group in read(rules_file())["groups"])
    assert f"SUCCESS: {rules} rules found" in said


def rules_file() -> Path:
    return PROMETHEUS.with_name("otel-memory.rules.yml")


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


# --- compose.yaml ------------------------------------------------------------


def test_what_is_published_is_on_the_loopback():
    published = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert published
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), port
    assert len(set(published)) == len(published)
    for service in SERVICES.values():
        assert service.get("network_mode") is None


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_or_built_here(name):
    service = SERVICES[name]
    if "image" in service:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
    else:
        context = (DEPLOY / service["build"]["context"]).resolve()
        assert context == ROOT
        assert (context / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_declared(name):
    service = SERVICES[name]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for each in service.get("volumes", ()):
        source, target, *mode = each.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert mode == ["ro"], each
        else:
            assert source in COMPOSE["volumes"]
            assert mode == []
    for other, wanted in service.get("depends_on", {}).items():
        is_checked = "healthcheck" in SERVICES[other]
        assert wanted["condition"] == (
            "service_healthy" if is_checked else "service_started"
        )
        assert "profiles" not in SERVICES[other]


def test_every_volume_and_network_is_used():
    used = {
        each.split(":")[0]
        for service in SERVICES.values()
        for each in service.get("volumes", ())
    }
    assert set(COMPOSE["volumes"]) == {each for each in used if each[0] != "."}
    networks = {each for service in SERVICES.values() for each in service["networks"]}
    assert set(COMPOSE["networks"]) == networks


@pytest.mark.parametrize(
    ("service", "option", "path"),
    [
        ("otelcol", "--config=", COLLECTOR),
        ("prometheus", "--config.file=", PROMETHEUS),
        ("alertmanager", "--config.file=", ALERTMANAGER),
        ("tempo", "-config.file=", TEMPO),
    ],
)
def test_a_service_reads_the_file_that_is_meant_for_it(service, option, path):
    (inside,) = (
        each.removeprefix(option)
        for each in SERVICES[service]["command"]
        if each.startswith(option)
    )
    assert mounted(service, inside).resolve() == path


def test_prometheus_is_told_to_take_otlp_and_to_keep_exemplars():
    command = SERVICES["prometheus"]["command"]
    assert "--web.enable-otlp-receiver" in command
    assert "--enable-feature=exemplar-storage" in command


@pytest.mark.parametrize("service", ["prometheus", "alertmanager", "tempo", "grafana"])
def test_what_a_service_keeps_is_on_its_volume(service):
    text = str(SERVICES[service].get("command")) + TEMPO.read_text()
    (target,) = (
        each.split(":")[1]
        for each in SERVICES[service]["volumes"]
        if not each.startswith(".")
    )
    assert target == "/var/lib/grafana" or target in text


ADDRESS = re.compile(r"(?<![\w./-])([a-z][a-z0-9.-]*):(\d{4,5})\b")
READERS = [COLLECTOR, PROMETHEUS, SCRAPE, DATA_SOURCES]


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
def test_addresses_are_services_and_ports_that_listen(path):
    text = re.sub(r"#.*|https?://", " ", path.read_text())
    found = ADDRESS.findall(text)
    assert found
    for host, port in found:
        assert host in SERVICES, (host, port)
        known = str(SERVICES[host].get("ports")) + configuration(host)
        # The shop's metrics are Kubernetes' example, too.
        assert port in known or (host, port) == ("shop", "9464"), (host, port)


def configuration(service: str) -> str:
    return {"otelcol": COLLECTOR, "tempo": TEMPO}.get(service, ALERTMANAGER).read_text()


def test_the_demo_sends_to_the_collector():
    shop = SERVICES["shop"]
    assert shop["profiles"] == ["demo"]
    endpoint = shop["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == "http://otelcol:4318"
    assert all("profiles" not in SERVICES[name] for name in set(SERVICES) - {"shop"})


def test_the_demos_image_is_made_of_what_there_is():
    dockerfile = DEPLOY / "shop/Dockerfile"
    lines = dockerfile.read_text().splitlines()
    copied = [
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert {"pyproject.toml", "setup.py", "otel_memory", "examples"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
    (command,) = (line for line in lines if line.startswith("CMD "))
    words = re.findall(r'"([^"]+)"', command)
    assert words[:3] == ["opentelemetry-instrument", "python", "main.py"]
    main = ROOT / "examples/shop" / words[2]
    status, said = servers.run(sys.executable, main, "--help")
    assert status == 0, said
    assert {each for each in words if each.startswith("--")} <= set(
        re.findall(r"--[a-z]+", said)
    )


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
