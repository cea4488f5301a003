# SPDX-License-Identifier: Apache-2.0
"""Rules under promtool or vmalert-tool, which alone say what fires and when.

promtool is the first one on the `PATH`, unless a test names another.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .shapes import Collector, Process

FIRING = 'ALERTS{{alertstate="firing", instance="{instance}", cluster="{cluster}"}}'


@dataclass(frozen=True)
class Check:
    """What fires for one process.

    Attributes:
        instance: The process.
        alerts: Titles, of span names as `TITLE SPAN`; no others may fire.
        minute: When; None for any time at all.
        cluster: A label of the process, where others share its instance.
    """

    instance: str
    alerts: Sequence[str]
    minute: int | None = None
    cluster: str = ""


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
    processes: Sequence[Process | Collector]
    checks: Sequence[Check]
    told: Sequence[Told] = ()

    def write(self, folder: Path, rules: Path, language: str = "promql") -> Path:
        """Write the file that promtool takes, or vmalert-tool with `metricsql`."""
        test = {
            "name": self.name,
            "interval": "1m",
            "input_series": [
                series
                for process in self.processes
                for series in process.series(self.minutes)
            ],
            f"{language}_expr_test": [self._expression(check) for check in self.checks],
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
        groups = yaml.safe_load(rules.read_text())["groups"]
        content = {
            "rule_files": [str(rules)],
            "group_eval_order": [group["name"] for group in groups],
            "tests": [test],
        }
        path.write_text(yaml.safe_dump(content, width=10**9))
        return path

    def _expression(self, check: Check) -> dict[str, Any]:
        series = FIRING.format(instance=check.instance, cluster=check.cluster)
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


def run(*arguments: str | Path, tool: str = "promtool") -> tuple[bool, str]:
    """Run a tool; tell whether it was content, and all that it said."""
    found = shutil.which(tool)
    assert found, (
        f"{tool} is missing: apt-get install -y --no-install-recommends prometheus"
    )
    done = subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0, re.sub(r"\n\s*\n+", "\n", done.stdout + done.stderr)


def judge(
    trial: Trial, folder: Path, rules: Path, tool: str = "promtool"
) -> tuple[bool, str]:
    """Let promtool say whether what fires is what shall."""
    content, said = run("test", "rules", trial.write(folder, rules), tool=tool)
    return content, said[:4000]


def judge_by_vmalert(
    trial: Trial, folder: Path, rules: Path, tool: str
) -> tuple[bool, str]:
    """Let vmalert-tool say the same: of MetricsQL, in VictoriaMetrics' storage."""
    path = trial.write(folder, rules, "metricsql")
    # Its alerts would have the group's name as a label.
    flags = ["--disableAlertgroupLabel", f"--files={path}"]
    content, said = run("unittest", *flags, tool=tool)
    return content, said[:4000]
