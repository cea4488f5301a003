# SPDX-License-Identifier: Apache-2.0
"""The stack's files, and what a container sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
STACK = Path(__file__).parent / "stack"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROMETHEUS = DEPLOY / "prometheus/prometheus.yml"
SCRAPE = DEPLOY / "prometheus/scrape.yml"
ALERTMANAGER = DEPLOY / "alertmanager/alertmanager.yml"
COLLECTOR = DEPLOY / "otelcol/config.yaml"
TEMPO = DEPLOY / "tempo/tempo.yaml"
RELABEL = DEPLOY / "victoriametrics/relabel.yml"
DATA_SOURCES = DEPLOY / "grafana/provisioning/datasources/otel-memory.yaml"
FOLDERS = DEPLOY / "grafana/provisioning/dashboards/otel-memory.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
PAGES = [ROOT / "docs/stack.md", ROOT / "docs/scale.md"]
WRITTEN = [
    DEPLOY / "compose.yaml",
    PROMETHEUS,
    SCRAPE,
    ALERTMANAGER,
    COLLECTOR,
    TEMPO,
    RELABEL,
    DATA_SOURCES,
    FOLDERS,
    *KUBERNETES,
    *PAGES,
]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def mounted(service: str, path: str) -> Path:
    """Find the file that a container sees at a path."""
    for each in SERVICES[service]["volumes"]:
        source, target, *_ = each.split(":")
        if source.startswith(".") and Path(path).is_relative_to(target):
            return DEPLOY / source / Path(path).relative_to(target)
    raise AssertionError(f"{service} has nothing mounted at {path}")


def documents(name: str) -> dict[str, dict[str, Any]]:
    """Give the documents of one of Kubernetes' files, by kind."""
    text = (DEPLOY / "kubernetes" / name).read_text()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}
