# SPDX-License-Identifier: Apache-2.0
"""What the stack's files say to each other, and of us: names, labels, intervals."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import opentelemetry.environment_variables as of_the_api
import opentelemetry.instrumentation.environment_variables as of_instrumentation
import opentelemetry.sdk.environment_variables as of_the_sdk
import promql_parser as promql
import pytest

from deploy import names, scale
from otel_memory import config as ours
from otel_memory import semconv

from . import servers
from .dashboards import selectors
from .stack_files import (
    DATA_SOURCES,
    DEPLOY,
    FOLDERS,
    PROMETHEUS,
    RELABEL,
    ROOT,
    SCRAPE,
    SERVICES,
    WRITTEN,
    documents,
    mounted,
    read,
)

# --- Grafana -----------------------------------------------------------------


def test_data_sources_are_the_ones_that_rules_and_links_name():
    sources = {each["uid"]: each for each in read(DATA_SOURCES)["datasources"]}
    prometheus = sources[names.SETTINGS["grafana"]["datasource_uid"]]
    assert prometheus["isDefault"]
    interval = names.SETTINGS["export"]["interval_seconds"]
    assert prometheus["jsonData"]["timeInterval"] == f"{interval}s"
    (exemplars,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert sources[exemplars["datasourceUid"]]["type"] == "tempo"
    to_metrics = sources["tempo"]["jsonData"]["tracesToMetrics"]
    assert sources[to_metrics["datasourceUid"]] is prometheus


def test_from_a_span_to_metrics_that_exist_by_labels_that_are_promoted():
    (tempo,) = (e for e in read(DATA_SOURCES)["datasources"] if e["type"] == "tempo")
    to_metrics = tempo["jsonData"]["tracesToMetrics"]
    promoted = read(PROMETHEUS)["otlp"]["promote_resource_attributes"]
    for tag in to_metrics["tags"]:
        assert tag["key"] in promoted
        assert tag["value"] == names.label(tag["key"])
    for query in to_metrics["queries"]:
        assert "$$__tags" in query["query"]
        tree = promql.parse(query["query"].replace("$$__tags", 'job="x"'))
        for selector, _ in selectors(tree):
            assert selector.name in names.all_series()


def test_dashboards_are_mounted_where_they_are_looked_for():
    (provider,) = read(FOLDERS)["providers"]
    folder = mounted("grafana", provider["options"]["path"])
    assert {path.stem for path in folder.glob("*.json")} == set(
        names.SETTINGS["dashboards"]
    )
    assert provider["folder"] == names.SETTINGS["grafana"]["folder"]
    assert provider["folderUid"] == names.SETTINGS["grafana"]["folder_uid"]
    home = SERVICES["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert mounted("grafana", home).is_file()


def test_rules_are_evaluated_once():
    targets = [each.split(":")[1] for each in SERVICES["grafana"]["volumes"]]
    assert "/etc/grafana/provisioning" not in targets
    assert "/etc/grafana/provisioning/alerting" not in targets


# --- What all of them have in common -----------------------------------------


def variables() -> set[str]:
    known = {
        value
        for module in (of_the_api, of_the_sdk, of_instrumentation, ours)
        for value in vars(module).values()
        if isinstance(value, str) and value.startswith("OTEL_")
    }
    # Of the build, and of these tests.
    return known | {servers.VARIABLE, "OTEL_MEMORY_REQUIRE_EXTENSION"}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: "-".join(path.parts[-2:]))
def test_variables_of_the_environment_exist(path):
    used = set(re.findall(r"\bOTEL_[A-Z0-9_]+\b", path.read_text()))
    assert used <= variables()


def known_words() -> set[str]:
    """Names of series and labels, and of what a file may be called."""
    attributes = {
        names.label(attribute)
        for metric in names.all_series().values()
        for attribute in metric.attributes
    }
    return {*names.all_series(), *attributes, "otel_memory"}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: "-".join(path.parts[-2:]))
def test_no_file_names_a_metric_that_does_not_exist(path):
    pattern = r"\b(?:otel_memory|cpython_gc|process_memory|process_paging)[\w:]*"
    for found in re.findall(pattern, path.read_text()):
        word = found.removesuffix(":")  # of what is recorded, or before a value
        is_prefix = any(each.startswith(word) for each in names.all_series())
        ends_open = word.endswith("_")  # a group or a wildcard comes after it
        assert word in known_words() or (ends_open and is_prefix), word


def test_the_interval_is_the_one_that_the_rules_are_made_for():
    seconds = names.SETTINGS["export"]["interval_seconds"]
    for path in (PROMETHEUS, SCRAPE):
        assert read(path)["global"]["scrape_interval"] == f"{seconds}s"
    data = documents("configmap.yaml")["ConfigMap"]["data"]
    assert data["OTEL_METRIC_EXPORT_INTERVAL"] == str(seconds * 1000)
    demo = SERVICES["shop"]["environment"]["OTEL_METRIC_EXPORT_INTERVAL"]
    assert int(demo) <= seconds * 1000


def dropped() -> str:
    """The regular expression that scrape.yml proposes, in a comment."""
    (found,) = re.findall(r"#\s+regex: (\S+)", SCRAPE.read_text())
    return found


def test_dropping_the_conventions_drops_what_it_says_and_nothing_else():
    pattern = re.compile(dropped())
    gone = {name for name in names.all_series() if pattern.fullmatch(name)}
    conventions = {names.series(metric) for metric in semconv.CONVENTION_METRICS}
    assert gone == conventions
    everything = frozenset(scale.ON_REQUEST)
    less = scale.of_process(everything | set(semconv.CONVENTION_METRICS))
    saved = scale.of_process(everything) - less
    assert f"{saved} series a process" in SCRAPE.read_text()


def test_victoriametrics_labels_are_prometheus_own():
    rules = read(RELABEL)
    # It applies to all series that there are: only to what has no job yet.
    assert all(each["if"].startswith('{job=""') for each in rules)
    targets = [each.get("target_label") for each in rules if "target_label" in each]
    assert set(targets) == {names.JOB, names.INSTANCE}
    (dropped_labels,) = (e["regex"] for e in rules if e.get("action") == "labeldrop")
    attributes = {
        names.label(attribute)
        for metric in names.all_series().values()
        for attribute in metric.attributes
    }
    assert not [each for each in attributes if re.fullmatch(dropped_labels, each)]


def test_the_table_of_the_page_on_scale_is_computed():
    done = subprocess.run(
        [sys.executable, DEPLOY / "scale.py"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.stdout in (ROOT / "docs/scale.md").read_text()
