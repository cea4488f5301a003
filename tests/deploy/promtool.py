# SPDX-License-Identifier: Apache-2.0
"""Rules under promtool, which alone says what fires and when."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .shapes import Process

FIRING = 'ALERTS{{alertstate="firing", instance="{instance}"}}'


@dataclass(frozen=True)
class Check:
    """What fires for one process.

    Attributes:
        instance: The process.
        alerts: Titles, of span names as `TITLE SPAN`; no others may fire.
        minute: When; None for any time at all.
    """

    instance: str
    alerts: Sequence[str]
    minute: int | None = None


@dataclass(frozen=True)
class Told:
    """Labels and annotations of all alerts of a title at a minute."""

    minute: int
    title: str
    alerts: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Trial:
    """Processes under rules for some time."""

    name: str
    minutes: int
    processes: Sequence[Process]
    checks: Sequence[Check]
    told: Sequence[Told] = ()

    def write(self, folder: Path, rules: Path) -> Path:
        test = {
            "name": self.name,
            "interval": "1m",
            "input_series": [
                series
                for process in self.processes
                for series in process.series(self.minutes)
            ],
            "promql_expr_test": [self._expression(check) for check in self.checks],
            "alert_rule_test": [
                {
                    "eval_time": f"{told.minute}m",
                    "alertname": told.title,
                    "exp_alerts": list(told.alerts),
                }
                for told in self.told
            ],
        }
        path = folder / "trial_test.yml"
        content = {"rule_files": [str(rules)], "tests": [test]}
        path.write_text(yaml.safe_dump(content, width=10**9))
        return path

    def _expression(self, check: Check) -> dict[str, Any]:
        series = FIRING.format(instance=check.instance)
        minute = check.minute
        if minute is None:
            minute = self.minutes
            series = f"last_over_time({series}[{self.minutes + 1}m])"
        return {
            "expr": f"group by (alertname, span_name) ({series})",
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": _labels(alert), "value": 1} for alert in check.alerts
            ],
        }


def _labels(alert: str) -> str:
    title, _, span = alert.partition(" ")
    span_name = f', span_name="{span}"' if span else ""
    return f'{{alertname="{title}"{span_name}}}'


def run(*arguments: str | Path) -> tuple[bool, str]:
    """Run promtool; tell whether it was content, and all that it said."""
    found = shutil.which("promtool")
    assert found, (
        "promtool is missing: apt-get install -y --no-install-recommends prometheus"
    )
    done = subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stdout + done.stderr
