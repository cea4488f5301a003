# SPDX-License-Identifier: Apache-2.0
"""What a rule is made of, whoever evaluates it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from deploy import names
from deploy.rules.panels import Panel

PREFIX = "OTelMemory"
LABELS = "$labels"


class Severity(Enum):
    """What a human has to do."""

    CRITICAL = "critical"
    """Get up: requests are being lost, or will be within hours."""
    WARNING = "warning"
    """Write a ticket: work for the next days."""
    INFO = "info"
    """Look at it when something else is looked at."""


@dataclass(frozen=True)
class Recording:
    """A series that is computed once a minute for several rules.

    Attributes:
        name: Of the recorded series.
        expr: PromQL, which may use recordings above it in the table.
    """

    name: str
    expr: str


@dataclass(frozen=True)
class Alert:
    """One alert: a figure, its threshold, and what else must be true.

    Recordings are used as they are or under a subquery, never under a plain range or
    an offset, so that an expression may be put in their place. A value binds closer
    than a comparison, or stands in parentheses.

    Attributes:
        name: Without the prefix, in words: `near limit`.
        severity: What a human has to do.
        value: PromQL of the figure that is judged and told.
        sign: `>` or `<`.
        threshold: Which the figure has to pass.
        guards: PromQL that must have a result for the same labels.
        pending: How long all of it has to hold.
        keep: How long the alert goes on after that.
        summary: What is the matter, in one sentence without figures.
        description: The same for one series, a template that may use `$value`.
        panel: Where its links lead.
        extra_labels: Labels that choose on the dashboard, besides job and instance.
        of_pipeline: About the way that all figures take, and not about one process.
    """

    name: str
    severity: Severity
    value: str
    sign: str
    threshold: float
    summary: str
    description: str
    panel: Panel
    guards: tuple[str, ...] = ()
    pending: str = "0m"
    keep: str = "0m"
    extra_labels: tuple[str, ...] = ()
    of_pipeline: bool = False

    @property
    def slug(self) -> str:
        """The name as a file or a uid has it."""
        return self.name.replace(" ", "-").lower()

    @property
    def title(self) -> str:
        """The name of the alert where it fires."""
        words = self.name.split()
        return PREFIX + "".join(word[0].upper() + word[1:] for word in words)

    @property
    def guarded_value(self) -> str:
        """PromQL of the figure where the guards hold, whatever the threshold."""
        return self._guarded(self.value)

    @property
    def expr(self) -> str:
        """PromQL that has a result where the alert shall fire."""
        return self._guarded(f"{self.value} {self.sign} {number(self.threshold)}")

    def _guarded(self, expr: str) -> str:
        return "\n  and ".join([expr, *(f"({guard})" for guard in self.guards)])

    @property
    def dashboard_uid(self) -> str:
        """The uid of the panel's dashboard."""
        return str(names.SETTINGS["dashboards"][self.panel.dashboard])

    @property
    def dashboard_url(self) -> str:
        """A template of the dashboard's address, with its variables set."""
        process = () if self.of_pipeline else (names.JOB, names.INSTANCE)
        chosen = (*process, *self.extra_labels)
        variables = [
            f"var-{label}={{{{ {LABELS}.{label} | urlquery }}}}" for label in chosen
        ]
        address = f"{names.SETTINGS['urls']['grafana']}/d/{self.dashboard_uid}"
        return f"{address}?" + "&".join(variables)

    @property
    def annotations(self) -> dict[str, str]:
        """What a human reads and follows."""
        return {
            "summary": self.summary,
            "description": self.description,
            "dashboard_url": self.dashboard_url,
            "runbook_url": f"{names.SETTINGS['urls']['runbooks']}/{self.slug}.md",
        }

    @property
    def labels(self) -> dict[str, str]:
        """What routes the alert."""
        return {"severity": self.severity.value}


def number(value: float) -> str:
    """Write a number as PromQL has it, without a point where there is none."""
    return str(int(value)) if value == int(value) else repr(value)


def inline(expr: str, recordings: tuple[Recording, ...]) -> str:
    """Put the expressions of recordings in the place of their names."""
    by_name = {each.name: each.expr for each in recordings}

    def expression(match: re.Match[str]) -> str:
        return f"({inline(by_name[match[0]], recordings)})"

    return re.sub(r"\botel_memory:[a-z0-9_:]*[a-z0-9_]", expression, expr)
