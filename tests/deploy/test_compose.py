# SPDX-License-Identifier: Apache-2.0
"""compose.yaml: what it publishes, pins, mounts and takes away, without starting it."""

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
    PAGES,
    PROMETHEUS,
    ROOT,
    SCRAPE,
    SERVICES,
    TEMPO,
    mounted,
    read,
)


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


def volume(service: str) -> str:
    (target,) = (
        each.split(":")[1]
        for each in SERVICES[service]["volumes"]
        if not each.startswith(".")
    )
    return target


@pytest.mark.parametrize(
    ("service", "option"),
    [("prometheus", "--storage.tsdb.path="), ("alertmanager", "--storage.path=")],
)
def test_what_a_service_keeps_is_on_its_volume(service, option):
    assert f"{option}{volume(service)}" in SERVICES[service]["command"]


def test_what_tempo_and_grafana_keep_is_on_their_volumes():
    trace = read(TEMPO)["storage"]["trace"]
    for part in ("wal", "local"):
        assert Path(trace[part]["path"]).is_relative_to(volume("tempo"))
    assert volume("grafana") == "/var/lib/grafana"  # its image's own GF_PATHS_DATA
    assert "GF_PATHS_DATA" not in SERVICES["grafana"]["environment"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_gets_no_more_than_it_needs(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    # These write into the image, and the shop into a folder that is not memory.
    assert service.get("read_only", False) == (name not in {"grafana", "shop"})


def test_the_demo_ends_at_its_limit_also_where_there_is_swap():
    assert SERVICES["shop"]["memswap_limit"] == SERVICES["shop"]["mem_limit"]
    (said,) = re.findall(r"Its container ends at\s(\d+) GiB", PAGES[0].read_text())
    assert SERVICES["shop"]["mem_limit"] == f"{said}g"


def test_there_is_no_password_that_all_know():
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


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
    versions = re.findall(r"^FROM python:(\S+)", dockerfile.read_text(), re.MULTILINE)
    first, second = versions
    assert re.fullmatch(r"3\.\d+\.\d+-[a-z]+", first)  # the patch and Debian, too
    assert second == first.replace("-", "-slim-")
    (command,) = (line for line in lines if line.startswith("CMD "))
    words = re.findall(r'"([^"]+)"', command)
    assert words[:3] == ["opentelemetry-instrument", "python", "main.py"]
    main = ROOT / "examples/shop" / words[2]
    status, said = servers.run(sys.executable, main, "--help")
    assert status == 0, said
    assert {each for each in words if each.startswith("--")} <= set(
        re.findall(r"--[a-z]+", said)
    )
