# SPDX-License-Identifier: Apache-2.0
"""Every expression of every dashboard, asked of a real Prometheus with all our series.

None errs, none is empty, and some are worked out by hand.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import names
from otel_memory import semconv

from . import synthetic
from .dashboards import DASHBOARDS, PANELS

RATE_INTERVAL = "4m"
ALL = ".+"
START_SECONDS = synthetic.END_SECONDS - 3600
HOUR = {"start": START_SECONDS, "end": synthetic.END_SECONDS}
DEADLINE_SECONDS = 60
Series = tuple[dict[str, str], list[float]]


def tool(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing: apt-get install --no-install-recommends {name}"
    return found


class Prometheus:
    """A server that has nothing but what was written before it started."""

    def __init__(self, folder: Path) -> None:
        text, blocks = folder / "series.txt", folder / "blocks"
        text.write_text(synthetic.open_metrics())
        create = ("tsdb", "create-blocks-from", "openmetrics", text, blocks)
        subprocess.run([tool("promtool"), *create], check=True, capture_output=True)
        configuration = folder / "prometheus.yml"
        configuration.write_text("global: {scrape_interval: 1m}\n")
        self.process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={blocks}",
                "--storage.tsdb.retention.time=100y",
                "--web.listen-address=127.0.0.1:0",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = self._address()
        self._wait_until_ready()

    def _address(self) -> str:
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            found = re.search(r'msg="Listening on".* address=(\S+)', line)
            if found:
                return found[1]
        raise AssertionError("".join(said))

    def _wait_until_ready(self) -> None:
        for _ in range(DEADLINE_SECONDS * 20):
            try:
                with urllib.request.urlopen(f"http://{self.address}/-/ready"):
                    return
            except urllib.error.HTTPError:
                pass
            try:
                self.process.wait(1 / 20)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError("Prometheus ended")
        raise AssertionError("Prometheus did not get ready")

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()

    def ask(self, way: str, **arguments: str | int) -> list[dict[str, Any]]:
        data = urllib.parse.urlencode(arguments).encode()
        url = f"http://{self.address}/api/v1/{way}"
        try:
            with urllib.request.urlopen(url, data) as answer:
                answered = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        assert answered["status"] == "success"
        assert not answered.get("warnings")
        data = answered["data"]
        return data["result"] if isinstance(data, dict) else data

    def instant(self, expression: str) -> list[Series]:
        found = self.ask("query", query=expression, time=synthetic.END_SECONDS)
        return [(each["metric"], [float(each["value"][1])]) for each in found]

    def over_time(self, expression: str) -> list[Series]:
        found = self.ask("query_range", query=expression, step=60, **HOUR)
        return [
            (each["metric"], [float(value) for _, value in each["values"]])
            for each in found
        ]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path_factory.mktemp("prometheus"))
    yield server
    server.stop()


def filled(expression: str, **chosen: str) -> str:
    """Put in what Grafana puts in; what is not chosen is all."""
    expression = expression.replace("$__rate_interval", RATE_INTERVAL)
    return re.sub(r"\$(\w+)", lambda variable: chosen.get(variable[1], ALL), expression)


def asked(prometheus: Prometheus, panel: dict[str, Any], **chosen: str) -> list[Series]:
    found = []
    for target in panel["targets"]:
        ask = prometheus.instant if target.get("instant") else prometheus.over_time
        series = ask(filled(target["expr"], **chosen))
        assert series, target["expr"]
        found += series
    return found


def panel_of(name: str, number: int) -> dict[str, Any]:
    panels = DASHBOARDS[name]["panels"]
    (found,) = (panel for panel in panels if panel["id"] == number)
    return found


@pytest.mark.parametrize("panel", PANELS)
def test_no_panel_is_empty(prometheus, panel):
    values = [value for _, series in asked(prometheus, panel) for value in series]
    assert all(map(math.isfinite, values))
    assert any(values)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_annotation_is_empty(prometheus, name):
    for annotation in DASHBOARDS[name]["annotations"]["list"]:
        expression = filled(annotation["target"]["expr"])
        assert prometheus.over_time(expression), annotation["name"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_variable_is_without_choices(prometheus, name):
    for variable in DASHBOARDS[name]["templating"]["list"][1:]:
        query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
        assert query
        found = prometheus.ask("series", **{"match[]": filled(query[1])}, **HOUR)
        assert {each[query[2]] for each in found}


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_holds_to_what_was_chosen(prometheus, panel):
    for target in panel["targets"]:
        chosen = filled(target["expr"], job=synthetic.JOB, instance=synthetic.SICK)
        for labels, _ in prometheus.over_time(chosen):
            assert labels.get(names.INSTANCE, synthetic.SICK) == synthetic.SICK
        none = filled(target["expr"], instance="nothing")
        values = [value for _, series in prometheus.over_time(none) for value in series]
        # A count of nothing is 0.
        assert not any(values)


# --- Figures worked out by hand ----------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [(101, 2), (102, 1), (103, 1), (104, 1)],
    ids=["processes", "near the limit", "leaking", "firing"],
)
def test_the_fleet_is_counted(prometheus, number, expected):
    ((_, values),) = asked(prometheus, panel_of("fleet", number))
    assert values[-1] == expected


def test_the_nearest_to_the_limit_come_first(prometheus):
    found = asked(prometheus, panel_of("fleet", 202))
    assert [(labels[names.INSTANCE], values) for labels, values in found] == [
        (instance, [synthetic.USED_BYTES[instance] / synthetic.LIMIT_BYTES])
        for instance in (synthetic.SICK, synthetic.WELL)
    ]


def test_what_is_left_is_divided_by_the_growth(prometheus):
    ((_, values),) = asked(
        prometheus, panel_of("process", 102), instance=synthetic.SICK
    )
    left = synthetic.LIMIT_BYTES - synthetic.USED_BYTES[synthetic.SICK]
    growth = synthetic.GROWTH_BYTES_PER_HOUR[synthetic.SICK]
    assert values[-1] == pytest.approx(3600 * left / growth)


def by_span(found: list[Series]) -> dict[str, float]:
    return {labels[names.SPAN_NAME]: values[-1] for labels, values in found}


@pytest.mark.parametrize("number", [103, 401], ids=["chart", "table"])
def test_growth_of_a_span_is_by_the_hour(prometheus, number):
    panel = panel_of("spans", number)
    target = panel["targets"][-1 if number == 103 else 1]
    found = prometheus.instant(filled(target["expr"], instance=synthetic.SICK))
    growth = by_span(found)
    assert growth[synthetic.LEAKING_SPAN] == pytest.approx(
        synthetic.LEAKED_BYTES_PER_HOUR
    )


def test_live_bytes_are_set_against_an_hour_of_completed_spans(prometheus):
    found = asked(prometheus, panel_of("spans", 104), instance=synthetic.SICK)
    kept = by_span(found)
    hours = synthetic.MINUTES / synthetic.HOUR
    live = synthetic.LIVE_AT_START_BYTES + synthetic.LEAKED_BYTES_PER_HOUR * hours
    in_an_hour = synthetic.REQUESTS_PER_MINUTE * synthetic.HOUR
    assert kept[synthetic.LEAKING_SPAN] == pytest.approx(live / in_an_hour)
    assert not [name for name in kept if name.startswith("(")]


def test_rows_that_are_no_spans_keep_their_names(prometheus):
    live = by_span(asked(prometheus, panel_of("spans", 101)))
    assert set(live) >= set(semconv.ROW_BY_SORT.values())
    completed = by_span(asked(prometheus, panel_of("spans", 202)))
    in_parentheses = {name for name in completed if name.startswith("(")}
    assert in_parentheses == {semconv.ROW_OTHER}


def test_the_quantile_is_in_the_bucket_of_the_peaks(prometheus):
    low, high = synthetic.PEAK_BETWEEN_BYTES
    quantiles = by_span(asked(prometheus, panel_of("spans", 302)))
    assert quantiles
    for bytes_ in quantiles.values():
        assert low < bytes_ <= high


def test_choosing_a_span_and_an_entry_narrows_the_rows(prometheus):
    chosen = {"entry": "GET /recommend", names.SPAN_NAME: synthetic.LEAKING_SPAN}
    for number in (101, 103, 104, 201, 202, 203, 301, 401):
        found = asked(prometheus, panel_of("spans", number), **chosen)
        assert set(by_span(found)) == {synthetic.LEAKING_SPAN}
    histogram = asked(prometheus, panel_of("spans", 302), **chosen)
    assert set(by_span(histogram)) == {"GET /recommend"}
