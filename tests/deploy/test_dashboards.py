# SPDX-License-Identifier: Apache-2.0
"""The dashboards' JSON: as built, as Grafana wants it, and leading to what exists.

Here and in `test_expressions` are the rules of grafana/dashboard-linter, and more.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from deploy import names
from otel_memory import semconv

from .dashboards import (
    BY_UID,
    DASHBOARDS,
    NAMES,
    PANELS,
    ROOT,
    grouping,
    labels_of,
    matchers,
    parse,
)
from .rule_files import alerts_of_grafana, alerts_of_prometheus

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Of Grafana's units those that we mean.
UNITS = {"bytes", "binBps", "percentunit", "s", "short", "cps"}
TYPES = {"timeseries", "table", "stat", "bargauge", "state-timeline", "heatmap"}


def leads(dashboard: dict[str, Any]) -> set[str]:
    """Give the addresses of all links."""
    text = json.dumps(dashboard)
    return set(re.findall(r'"url": "([^"]*)"', text))


# --- The files ---------------------------------------------------------------


def test_committed_files_are_what_the_script_makes(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/grafana/build.py", "--check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_these_dashboards_are_there_with_the_uids_of_the_settings():
    assert {name: each["uid"] for name, each in DASHBOARDS.items()} == {
        name: names.SETTINGS["dashboards"][name] for name in NAMES
    }
    assert len(BY_UID) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_can_be_provisioned_and_imported(name):
    dashboard = DASHBOARDS[name]
    assert not {"__inputs", "__requires", "__elements"} & set(dashboard)
    assert "${DS_" not in json.dumps(dashboard)
    assert dashboard.get("id") is None
    assert dashboard["editable"] is False
    assert dashboard["schemaVersion"] == 42
    assert dashboard["title"]
    assert dashboard["description"]


# --- Variables ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_data_source_is_a_variable(name):
    variables = DASHBOARDS[name]["templating"]["list"]
    (source,) = (each for each in variables if each["type"] == "datasource")
    assert (source["name"], source["label"]) == ("datasource", "Data source")
    assert (source["query"], source["refresh"]) == ("prometheus", 2)
    assert variables[0] is source


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_chosen_from_what_is_there(name):
    variables = DASHBOARDS[name]["templating"]["list"][1:]
    own = {"spans": ["entry", names.SPAN_NAME]}.get(name, [])
    assert [each["name"] for each in variables] == ["job", "instance", *own]
    assert [each["label"] for each in variables[:2]] == ["Job", "Instance"]
    known = set()
    for variable in variables:
        assert variable["type"] == "query"
        assert variable["datasource"] == DATA_SOURCE
        assert variable["refresh"] == 2
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".+"
        assert variable["current"]["value"] == ["$__all"]
        query = variable["query"]["query"]
        assert query == variable["definition"]
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert asked, query
        selector = parse(asked[1])
        assert asked[2] in labels_of(selector.name)
        # Each follows from those before it.
        used = {value.removeprefix("$") for _, _, value in matchers(selector)}
        assert used == known
        known.add(variable["name"])


# --- Panels ------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique_and_tell_the_section(name):
    ids = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
    assert len(set(ids)) == len(ids)
    section = None
    for panel in DASHBOARDS[name]["panels"]:
        if panel["type"] == "row":
            section = panel["id"]
            assert section % 100 == 0
        else:
            assert panel["id"] // 100 * 100 == section


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_the_grid_without_overlap(name):
    places = [panel["gridPos"] for panel in DASHBOARDS[name]["panels"]]
    cells = [
        cell
        for place in places
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]),
            range(place["y"], place["y"] + place["h"]),
        )
    ]
    assert max(x for x, _ in cells) == 23
    assert len(set(cells)) == len(cells)
    assert len(cells) == 24 * max(place["y"] + place["h"] for place in places)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_means_and_what_to_do(panel):
    assert panel["type"] in TYPES
    assert panel["title"]
    means, todo, do = panel["description"].partition("\n\n**What to do:** ")
    assert todo
    for text in (means, do):
        assert len(text) > 10
        assert text.endswith(".")
        assert "  " not in text


def test_titles_are_unique_in_their_dashboard():
    for dashboard in DASHBOARDS.values():
        titles = [panel["title"] for panel in dashboard["panels"]]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_unit_of_grafanas(panel):
    config = panel["fieldConfig"]
    units = [config["defaults"]["unit"]]
    for override in config["overrides"]:
        units += [
            each["value"] for each in override["properties"] if each["id"] == "unit"
        ]
    assert set(units) <= UNITS


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_the_chosen_data_source(panel):
    assert panel["datasource"] == DATA_SOURCE
    assert panel["targets"]
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    interval = names.SETTINGS["export"]["interval_seconds"]
    for target in panel["targets"]:
        assert target["datasource"] == DATA_SOURCE
        assert target["interval"] == f"{interval}s"
        # A table has columns, and a number that stands alone has a title.
        assert target["legendFormat"] or panel["type"] in {"table", "stat"}


@pytest.mark.parametrize("panel", PANELS)
def test_thresholds_rise_and_begin_at_the_lowest(panel):
    config = panel["fieldConfig"]
    found = [config["defaults"].get("thresholds")]
    for override in config["overrides"]:
        found += [
            each["value"]
            for each in override["properties"]
            if each["id"] == "thresholds"
        ]
    for thresholds in filter(None, found):
        first, *others = [step["value"] for step in thresholds["steps"]]
        assert first is None
        assert others == sorted(set(others))


@pytest.mark.parametrize("panel", PANELS)
def test_columns_that_are_dressed_exist(panel):
    if panel["type"] != "table":
        return
    (organized,) = (
        each["options"] for each in panel["transformations"] if each["id"] == "organize"
    )
    titles = list(organized["renameByName"].values())
    assert len(set(titles)) == len(titles)
    dressed = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
    sorted_by = {each["displayName"] for each in panel["options"]["sortBy"]}
    assert dressed | sorted_by <= set(titles)
    labels = {name for name in organized["renameByName"] if "Value" not in name}
    for target in panel["targets"]:
        assert target["format"] == "table"
        assert target["instant"]
        # Rows of several queries are merged where all labels are equal.
        assert grouping(parse(target["expr"])) == labels


@pytest.mark.parametrize("panel", PANELS)
def test_what_is_now_is_asked_for_now(panel):
    # The last value of a range may be of hours ago, when it was still true.
    now = panel["type"] in {"stat", "bargauge", "table"}
    for target in panel["targets"]:
        assert target.get("instant", False) == now
        assert target.get("range", False) != now


def shows_verdict(panel):
    name = names.series(semconv.LEAK_STATE)
    pattern = r"(max by \([a-z, ]+\) )?\(?" + name + r"\{[^}]*\}\)?"
    return any(re.fullmatch(pattern, t["expr"]) for t in panel["targets"])


def test_where_the_verdict_is_shown_it_is_in_words():
    panels = [panel for param in PANELS for panel in param.values]
    shown = [panel for panel in panels if shows_verdict(panel)]
    assert len(shown) >= 3
    for panel in shown:
        texts = [
            [text["text"] for _, text in sorted(mapping["options"].items())]
            for mapping in find(panel["fieldConfig"], "mappings")
        ]
        words = [state.replace("-", " ") for state in semconv.LEAK_STATES]
        assert texts == [words], panel["title"]


def find(node: Any, key: str) -> Iterator[Any]:
    """Give what stands under a key or in a property of that id, unless empty."""
    if isinstance(node, dict):
        if node.get("id") == key:
            yield from node["value"]
        for name, below in node.items():
            yield from below if name == key else find(below, key)
    elif isinstance(node, list):
        for each in node:
            yield from find(each, key)


# --- Annotations and links ---------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_annotations_work_on_old_and_new_servers(name):
    annotations = DASHBOARDS[name]["annotations"]["list"]
    assert annotations
    for annotation in annotations:
        assert annotation["datasource"] == DATA_SOURCE
        assert annotation["expr"] == annotation["target"]["expr"]
        assert annotation["step"] == annotation["target"]["interval"]


@pytest.mark.parametrize("name", NAMES)
def test_dashboards_lead_to_each_other(name):
    links = DASHBOARDS[name]["links"]
    others = {f"/d/{uid}" for uid in BY_UID} - {f"/d/{DASHBOARDS[name]['uid']}"}
    assert {link["url"] for link in links} == others
    for link in links:
        assert link["keepTime"]
        assert link["includeVars"]
        assert "placement" not in link  # or new servers hide it in a menu


def test_links_in_panels_take_time_and_variables_along():
    found = {
        url
        for dashboard in DASHBOARDS.values()
        for panel in dashboard["panels"]
        for url in leads(panel)
    }
    assert len(found) == 2
    for url in found:
        uid, variables = re.fullmatch(r"/d/([\w-]+)\?(.*)", url).groups()
        assert_variables(uid, variables)
        assert "${__url_time_range}" in variables
        assert "${datasource:queryparam}" in variables


def assert_variables(uid: str, query: str) -> None:
    known = {each["name"] for each in BY_UID[uid]["templating"]["list"]}
    assert set(re.findall(r"var-([\w.-]+)=", query)) <= known


def dashboard_and_query(annotations: dict[str, str]) -> tuple[str, str]:
    url = re.fullmatch(r".*/d/([^?]+)\?(.*)", annotations["dashboard_url"])
    assert url
    return url[1], url[2]


def test_alerts_lead_to_dashboards_that_exist():
    assert alerts_of_prometheus()
    for rule in alerts_of_prometheus():
        assert_variables(*dashboard_and_query(rule["annotations"]))


def test_provisioned_alerts_lead_to_what_exists():
    alerts = alerts_of_grafana()
    assert alerts
    for alert in alerts:
        uid, query = dashboard_and_query(alert["annotations"])
        assert_variables(uid, query)
        assert alert.get("dashboardUid", uid) == uid
        if "panelId" in alert:
            ids = {panel["id"] for panel in BY_UID[uid]["panels"]}
            assert alert["panelId"] in ids
