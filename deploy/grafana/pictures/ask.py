# SPDX-License-Identifier: Apache-2.0
"""Ask Prometheus what a committed dashboard asks, as Grafana would ask it.

The answer holds all that the page needs to draw: panels, series, exemplars, and the
times to mark.
"""

from __future__ import annotations

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ALL = ".+"
EXEMPLARS_SHOWN = 300
# Of the least step, by default, as Grafana's data source has it.
RATE_STEPS = 4


@dataclass(frozen=True)
class Asked:
    """What is looked at.

    Attributes:
        url: Of Prometheus.
        start_seconds: Of the range, in Unix time.
        end_seconds: Of the range.
        chosen: Values of the dashboard's variables; of all others all.
    """

    url: str
    start_seconds: float
    end_seconds: float
    chosen: Mapping[str, str]


def picture(dashboard: dict[str, Any], asked: Asked, caption: str) -> dict[str, Any]:
    """Collect what the page draws of a dashboard."""
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    step = min(_seconds(target["interval"]) for p in panels for target in p["targets"])
    first = math.floor(asked.start_seconds / step) * step
    last = math.floor(asked.end_seconds / step) * step
    server = _Server(asked, first, last, step)
    return {
        "title": dashboard["title"],
        "caption": caption,
        "panels": dashboard["panels"],
        "chosen": [
            {"label": variable["label"], "value": asked.chosen.get(name, "All")}
            for variable in dashboard["templating"]["list"]
            if (name := variable["name"]) != "datasource"
        ],
        "range": {"from": first, "to": last},
        "stepSeconds": step,
        "answers": {
            panel["id"]: {
                target["refId"]: server.answer(target) for target in panel["targets"]
            }
            for panel in panels
        },
        "marks": [
            mark
            for annotation in dashboard["annotations"]["list"]
            if annotation["enable"]
            for mark in server.marks(annotation)
        ],
    }


@dataclass(frozen=True)
class _Server:
    asked: Asked
    first: int
    last: int
    step: int

    def answer(self, target: dict[str, Any]) -> dict[str, Any]:
        expression = self._filled(target["expr"])
        exemplars = target.get("exemplar") and self._exemplars(expression)
        return {
            "series": self._series(expression, instant=target["instant"]),
            "exemplars": exemplars or [],
        }

    def marks(self, annotation: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Join the samples that follow one another."""
        series = self._series(self._filled(annotation["target"]["expr"]))
        for each in series:
            start = last = None
            for seconds, _ in [*each["values"], (math.inf, "")]:
                if last is not None and seconds > last + self.step:
                    color = annotation["iconColor"]
                    yield {"color": color, "from": start, "to": last}
                    start = None
                start, last = start or seconds, seconds

    def _filled(self, expression: str) -> str:
        """Put in what Grafana puts in."""
        seconds = max(2 * self.step, RATE_STEPS * self.step)
        expression = expression.replace("$__rate_interval", f"{seconds}s")
        chosen = self.asked.chosen
        return re.sub(r"\$(\w+)", lambda name: chosen.get(name[1], ALL), expression)

    def _series(
        self, expression: str, *, instant: bool = False
    ) -> list[dict[str, Any]]:
        if instant:
            found = self._get("query", query=expression, time=self.asked.end_seconds)
        else:
            times = {"start": self.first, "end": self.last, "step": self.step}
            found = self._get("query_range", query=expression, **times)
        return [
            {
                "labels": {k: v for k, v in each["metric"].items() if k != "__name__"},
                "values": _finite(each.get("values") or [each["value"]]),
            }
            for each in found["result"]
        ]

    def _exemplars(self, expression: str) -> list[dict[str, float]]:
        found = self._get(
            "query_exemplars", query=expression, start=self.first, end=self.last
        )
        # The same request is in all series that the expression takes together.
        single = {
            (exemplar["timestamp"], float(exemplar["value"]))
            for each in found
            for exemplar in each["exemplars"]
        }
        thinned = sorted(single)[:: max(1, len(single) // EXEMPLARS_SHOWN)]
        return [{"seconds": seconds, "value": value} for seconds, value in thinned]

    def _get(self, way: str, **arguments: object) -> Any:
        url = f"{self.asked.url}/api/v1/{way}"
        data = urllib.parse.urlencode(arguments).encode()
        try:
            with urllib.request.urlopen(url, data) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            raise RuntimeError(f"{arguments['query']}: {text}") from None


def _finite(values: list[list[Any]]) -> list[list[Any]]:
    """Leave out what is no number: Grafana draws a gap, too."""
    return [each for each in values if math.isfinite(float(each[1]))]


def _seconds(interval: str) -> int:
    assert interval.endswith("s"), interval
    return int(interval[:-1])
