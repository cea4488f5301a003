# SPDX-License-Identifier: Apache-2.0
"""The table of alerts as Prometheus and as Grafana read it.

Prometheus's file has recordings and alerts. Grafana's stands alone: there the
recordings' expressions are put in the place of their names, and a threshold of its own
follows each query.
"""

from __future__ import annotations

from typing import Any

import yaml

from deploy import names
from deploy.rules.alerts import ALERTS
from deploy.rules.model import Alert, inline
from deploy.rules.series import RECORDINGS

_HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# Made by deploy/rules/build.py from deploy/settings.toml; edit those.
"""
_INTERVAL = "1m"
_EVALUATORS = {">": "gt", "<": "lt"}
_QUERY, _THRESHOLD = "A", "B"
_EXPRESSIONS = "__expr__"
_NEVER = "0m"


class _Dumper(yaml.SafeDumper):
    """Writes expressions in lines of their own, and everything without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat what is the same."""
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    style = "|" if "\n" in data else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _text)


def _yaml(content: dict[str, Any]) -> str:
    body = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True
    )
    return _HEADER + body


def prometheus() -> str:
    """Write the rule file of Prometheus, Mimir and vmalert."""
    recordings = [{"record": each.name, "expr": each.expr} for each in RECORDINGS]
    alerts = [_prometheus_alert(alert) for alert in ALERTS]
    groups = [
        {"name": "otel-memory.recording", "interval": _INTERVAL, "rules": recordings},
        {"name": "otel-memory.alerts", "interval": _INTERVAL, "rules": alerts},
    ]
    return _yaml({"groups": groups})


def _prometheus_alert(alert: Alert) -> dict[str, Any]:
    times = {"for": alert.pending, "keep_firing_for": alert.keep}
    return {
        "alert": alert.title,
        "expr": alert.expr,
        **{key: time for key, time in times.items() if time != _NEVER},
        "labels": alert.labels,
        "annotations": alert.annotations,
    }


def grafana() -> str:
    """Write the provisioning file of Grafana's own alerting."""
    settings = names.SETTINGS["grafana"]
    group = {
        "orgId": 1,
        "name": "otel-memory",
        "folder": settings["folder"],
        "interval": _INTERVAL,
        "rules": [_grafana_alert(alert) for alert in ALERTS],
    }
    return _yaml({"apiVersion": 1, "groups": [group]})


def _grafana_alert(alert: Alert) -> dict[str, Any]:
    return {
        "uid": f"otel-memory-{alert.slug}",
        "title": alert.title,
        "condition": _THRESHOLD,
        "data": [_query(alert), _threshold(alert)],
        "dashboardUid": alert.dashboard_uid,
        "panelId": alert.panel.id,
        "for": alert.pending,
        "keepFiringFor": alert.keep,
        # What is guarded has no result most of the time, and means well by that.
        "noDataState": "OK",
        # All rules ask one database: if it does not answer, one of them says so.
        "execErrState": "Error" if alert.of_pipeline else "KeepLast",
        **({"missing_series_evals_to_resolve": 1} if alert.pending != _NEVER else {}),
        "isPaused": False,
        "labels": alert.labels,
        "annotations": {
            **{
                key: text.replace("$value ", f"$values.{_QUERY}.Value ")
                for key, text in alert.annotations.items()
            },
            # Links in notifications go by these, states in panels by those above.
            "__dashboardUid__": alert.dashboard_uid,
            "__panelId__": str(alert.panel.id),
        },
    }


def _query(alert: Alert) -> dict[str, Any]:
    source = names.SETTINGS["grafana"]["datasource_uid"]
    return {
        "refId": _QUERY,
        "relativeTimeRange": {"from": 3600, "to": 0},
        "datasourceUid": source,
        "model": {
            "refId": _QUERY,
            "datasource": {"type": "prometheus", "uid": source},
            "editorMode": "code",
            "expr": inline(alert.guarded_value, RECORDINGS),
            "instant": True,
            "range": False,
            "intervalMs": 1000,
            "maxDataPoints": 43200,
        },
    }


def _threshold(alert: Alert) -> dict[str, Any]:
    return {
        "refId": _THRESHOLD,
        "datasourceUid": _EXPRESSIONS,
        "model": {
            "refId": _THRESHOLD,
            "datasource": {"type": _EXPRESSIONS, "uid": _EXPRESSIONS},
            "type": "threshold",
            "expression": _QUERY,
            "conditions": [
                {
                    "type": "query",
                    "evaluator": {
                        "type": _EVALUATORS[alert.sign],
                        "params": [alert.threshold],
                    },
                    "operator": {"type": "and"},
                    "query": {"params": [_QUERY]},
                    "reducer": {"type": "last", "params": []},
                }
            ],
        },
    }
