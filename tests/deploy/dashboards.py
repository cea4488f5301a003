# SPDX-License-Identifier: Apache-2.0
"""The committed dashboards, and what their expressions are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from deploy import names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/grafana/dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
NAMES = ("fleet", "process", "spans")
BY_UID = {dashboard["uid"]: dashboard for dashboard in DASHBOARDS.values()}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
RATE_INTERVAL = timedelta(minutes=4, seconds=3)
"""In place of Grafana's; no expression has this length of time written in it."""
# What Prometheus itself makes of rules.
OF_PROMETHEUS: dict[str, set[str]] = {
    "ALERTS": {"alertname", "alertstate", "severity"},
    names.ANONYMOUS_FLOOR: set(),
}


def _expressions() -> Iterator[Any]:
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                where = f"{name}-{panel['id']}{target['refId']}"
                legend = target.get("legendFormat", "")
                yield pytest.param(target["expr"], legend, id=where)
        for annotation in dashboard["annotations"]["list"]:
            shown = "titleFormat", "textFormat"
            legend = " ".join(annotation[key] for key in shown)
            where = f"{name}-{annotation['name']}"
            yield pytest.param(annotation["target"]["expr"], legend, id=where)


EXPRESSIONS = list(_expressions())


def parse(expression: str) -> promql.Expr:
    return promql.parse(expression.replace("$__rate_interval", "4m3s"))


def walk(node: Any, *above: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Give each node with those above it, the nearest one last."""
    yield node, above
    below = [getattr(node, each, None) for each in ("lhs", "rhs", "expr")]
    below += [getattr(node, "vector_selector", None), *getattr(node, "args", ())]
    for each in below:
        if each is not None:
            yield from walk(each, *above, node)


def selectors(node: Any) -> Iterator[tuple[promql.VectorSelector, tuple[Any, ...]]]:
    for each, above in walk(node):
        if isinstance(each, promql.VectorSelector):
            yield each, above


def matchers(selector: promql.VectorSelector) -> set[tuple[str, str, str]]:
    return {(m.name, str(m.op), m.value) for m in selector.matchers.matchers}


def labels_of(name: str) -> set[str]:
    if name in OF_PROMETHEUS:
        return {"job", "instance", *OF_PROMETHEUS[name]}
    metric = names.all_series()[name]
    own = {names.label(attribute) for attribute in metric.attributes}
    return {"job", "instance", *own, *({"le"} if name.endswith("_bucket") else ())}


def grouping(node: Any) -> set[str]:
    """Give the labels that all aggregations with labels leave together."""
    return {
        label
        for each, _ in walk(node)
        if isinstance(each, promql.AggregateExpr) and each.modifier
        for label in each.modifier.labels
    }
