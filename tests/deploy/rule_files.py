# SPDX-License-Identifier: Apache-2.0
"""The two files of rules, and what is in them.

Grafana's alerts are also written down as Prometheus's rules, query, threshold and all,
so that one judge can try both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .dashboards import BY_UID

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus/otel-memory.rules.yml"
GRAFANA = ROOT / "deploy/grafana/provisioning/alerting/otel-memory.yaml"
SIGNS = {"gt": ">", "lt": "<"}
# Annotations that are Grafana's own business.
LINK = ("__dashboardUid__", "__panelId__")


PANELS = {
    (uid, panel["id"]): panel
    for uid, dashboard in BY_UID.items()
    for panel in dashboard["panels"]
}
"""The panels of the committed dashboards, by uid and id."""


def rules_of_prometheus() -> list[dict[str, Any]]:
    groups = yaml.safe_load(PROMETHEUS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts_of_prometheus() -> list[dict[str, Any]]:
    return [rule for rule in rules_of_prometheus() if "alert" in rule]


def alerts_of_grafana() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(GRAFANA.read_text())["groups"]
    return group["rules"]


def as_prometheus(rule: dict[str, Any]) -> dict[str, Any]:
    """Write one of Grafana's alerts as Prometheus would have it."""
    query, threshold = rule["data"]
    (condition,) = threshold["model"]["conditions"]
    assert rule["condition"] == threshold["refId"]
    assert threshold["model"]["expression"] == query["refId"]
    sign = SIGNS[condition["evaluator"]["type"]]
    (limit,) = condition["evaluator"]["params"]
    value = f"$values.{query['refId']}.Value"
    return {
        "alert": rule["title"],
        "expr": f"({query['model']['expr']}) {sign} {limit}",
        "for": rule["for"],
        "keep_firing_for": rule["keepFiringFor"],
        "labels": rule["labels"],
        "annotations": {
            key: text.replace(value, "$value")
            for key, text in rule["annotations"].items()
            if key not in LINK
        },
    }


def prometheus_file(folder: Path) -> Path:
    """Give the file as it is; the folder is for what another file needs."""
    return PROMETHEUS


def grafana_file(folder: Path) -> Path:
    """Write Grafana's alerts as Prometheus's rules."""
    path = folder / "grafana.rules.yml"
    group = {"name": "all", "rules": [as_prometheus(r) for r in alerts_of_grafana()]}
    path.write_text(yaml.safe_dump({"groups": [group]}))
    return path
