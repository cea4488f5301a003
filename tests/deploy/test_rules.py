# SPDX-License-Identifier: Apache-2.0
"""Alert rules: as built, about what exists, and firing for what they are for.

promtool is the judge, the first one on the `PATH`, of the file for Prometheus and of
Grafana's alike. `test_rules_elsewhere.py` asks other judges.
"""

from __future__ import annotations

import re
import subprocess
import sys

import promql_parser as promql
import pytest
import yaml

from deploy import names
from deploy.rules import build, collector
from deploy.rules.alerts import ALERTS
from deploy.rules.model import Severity, inline
from deploy.rules.series import RECORDINGS
from otel_memory import semconv

from . import fleet, ladder, promtool
from .dashboards import BY_UID, parse, selectors, walk
from .rule_files import (
    GRAFANA,
    LINK,
    PANELS,
    PROMETHEUS,
    ROOT,
    SIGNS,
    alerts_of_grafana,
    alerts_of_prometheus,
    as_prometheus,
    rules_of_prometheus,
)
from .shapes import Process, flat

# --- The files ---------------------------------------------------------------


def test_committed_files_are_what_the_script_makes(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/rules/build.py", "--check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_changed_and_a_missing_file_are_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    changed, missing = tmp_path / "changed.yml", tmp_path / "missing.yml"
    changed.write_text("groups: []\n")
    outputs = dict.fromkeys([changed, missing], next(iter(build.OUTPUTS.values())))
    monkeypatch.setattr(build, "OUTPUTS", outputs)
    assert build.main(["--check"]) == 1
    assert re.findall(r"(\w+\.yml) is not", capsys.readouterr().err) == [
        "changed.yml",
        "missing.yml",
    ]
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0


def test_promtool_accepts_them(rules):
    content, said = promtool.run("check", "rules", rules)
    assert content, said


# --- What they ask for -------------------------------------------------------


def series_of(expr: str) -> set[str]:
    return {selector.name for selector, _ in selectors(parse(expr))}


EXPRESSIONS = [
    pytest.param(rule["expr"], id=rule.get("alert") or rule["record"])
    for rule in rules_of_prometheus()
]


# Its names are tried where a Collector is.
OF_THE_COLLECTOR = {collector.UP, *collector.COUNTERS}


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_every_series_exists(expr):
    known = names.all_series()
    recorded = {each.name for each in RECORDINGS}
    found = list(selectors(parse(expr)))
    assert found
    for selector, _ in found:
        assert selector.name in {*known, *recorded, *OF_THE_COLLECTOR}
        labels = {matcher.name for matcher in selector.matchers.matchers}
        if selector.name in OF_THE_COLLECTOR:
            assert labels == {names.JOB}
        elif labels:
            attributes = known[selector.name].attributes
            assert labels <= {names.label(each) for each in attributes}


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_no_series_name_is_hidden_from_the_check_above(expr):
    text = re.sub(r'"[^"]*"', "", expr)
    words = set(re.findall(r"\botel_memory[\w:]*", text))
    labels = {
        names.label(attribute)
        for metric in names.all_series().values()
        for attribute in metric.attributes
    }
    assert words <= series_of(expr) | labels


def test_recordings_are_made_before_they_are_used_and_all_are_used():
    recorded: list[str] = []
    for rule in rules_of_prometheus():
        used = {name for name in series_of(rule["expr"]) if ":" in name}
        assert used <= set(recorded)
        if "record" in rule:
            recorded.append(rule["record"])
    asked = {name for rule in rules_of_prometheus() for name in series_of(rule["expr"])}
    assert set(recorded) <= asked


def test_the_collector_is_the_one_that_prometheus_scrapes():
    path = PROMETHEUS.with_name("prometheus.yml")
    scrapes = yaml.safe_load(path.read_text())["scrape_configs"]
    assert collector.JOB in {each["job_name"] for each in scrapes}


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_figures_that_meet_one_to_many_match_by_all_that_the_process_has(expr):
    """By job and instance alone two of one name fail for all the fleet."""
    sides = (
        promql.VectorMatchCardinality.ManyToOne,
        promql.VectorMatchCardinality.OneToMany,
    )
    for node, _ in walk(parse(expr)):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql.BinaryExpr) and modifier and modifier.card in sides:
            assert modifier.matching.type == promql.LabelModifierType.Exclude


def test_no_rule_looks_at_the_deltas_of_spans_or_at_resident_memory():
    text = PROMETHEUS.read_text() + GRAFANA.read_text()
    assert "delta" not in text
    assert "_rss_" not in text


def test_a_recording_under_a_range_or_an_offset_could_not_be_inlined():
    for each in [*RECORDINGS, *ALERTS]:
        assert not re.search(r"otel_memory:[\w:]+(\[\w+\]| offset)", each.expr)


# --- Grafana's and Prometheus's ----------------------------------------------


def test_grafana_has_the_same_alerts():
    theirs = [as_prometheus(rule) for rule in alerts_of_grafana()]
    ours = [{"for": "0m", "keep_firing_for": "0m", **r} for r in alerts_of_prometheus()]
    for rule in [*theirs, *ours]:
        del rule["expr"]
    assert theirs == ours


def test_grafana_has_the_same_thresholds_and_asks_no_recording():
    for alert, rule in zip(ALERTS, alerts_of_grafana(), strict=True):
        query, threshold = rule["data"]
        evaluator = threshold["model"]["conditions"][0]["evaluator"]
        assert SIGNS[evaluator["type"]] == alert.sign
        assert evaluator["params"] == [alert.threshold]
        assert query["model"]["expr"] == inline(alert.guarded_value, RECORDINGS)
        assert "otel_memory:" not in query["model"]["expr"]


def test_uids_of_grafana_are_unique_and_short_enough():
    uids = [rule["uid"] for rule in alerts_of_grafana()]
    assert len(set(uids)) == len(ALERTS)
    assert max(map(len, uids)) <= 40


def test_what_wakes_is_about_requests_that_are_lost_soon():
    critical = {a.slug for a in ALERTS if a.severity is Severity.CRITICAL}
    assert critical == {"at-limit", "limit-forecast", "stalled"}


def test_what_has_no_result_is_well():
    assert {rule["noDataState"] for rule in alerts_of_grafana()} == {"OK"}


def test_one_rule_tells_that_grafana_cannot_ask_and_no_other_changes_by_that():
    states = {rule["title"]: rule["execErrState"] for rule in alerts_of_grafana()}
    assert states.pop("OTelMemoryTelemetryLost") == "Error"
    assert set(states.values()) == {"KeepLast"}


def test_in_grafana_too_what_is_pending_begins_anew_after_a_gap():
    for alert, rule in zip(ALERTS, alerts_of_grafana(), strict=True):
        evaluations = rule.get("missing_series_evals_to_resolve")
        assert evaluations == (1 if alert.pending != "0m" else None)


# --- Where they lead ---------------------------------------------------------


# What a figure is set against, and need not be drawn beside it.
CONTEXT = {
    names.series(metric)
    for metric in (semconv.LIMIT, semconv.PROCESS_UPTIME, semconv.SPAN_COUNT)
}


@pytest.mark.parametrize(
    ("alert", "rule"),
    [
        pytest.param(alert, rule, id=alert.slug)
        for alert, rule in zip(ALERTS, alerts_of_grafana(), strict=True)
    ],
)
def test_alerts_of_grafana_lead_to_a_panel_that_shows_what_they_ask(alert, rule):
    panel = PANELS[rule["dashboardUid"], rule["panelId"]]
    in_notifications = [rule["annotations"][key] for key in LINK]
    assert in_notifications == [rule["dashboardUid"], str(rule["panelId"])]
    assert f"/d/{rule['dashboardUid']}?" in rule["annotations"]["dashboard_url"]
    asked = series_of(inline(alert.value, RECORDINGS)) - CONTEXT
    shown = [series_of(target["expr"]) for target in panel["targets"]]
    assert asked
    # No panel shows the Collector, but all tell who reports no more.
    assert asked <= set().union(*shown) or asked == OF_THE_COLLECTOR


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.slug)
def test_the_dashboard_has_what_the_link_chooses(alert):
    variables = BY_UID[alert.dashboard_uid]["templating"]["list"]
    chosen = set(re.findall(r"var-(\w+)=", alert.dashboard_url))
    assert chosen <= {each["name"] for each in variables}
    assert {"job", "instance"} <= chosen or alert.title == "OTelMemoryTelemetryLost"


# --- What fires --------------------------------------------------------------


def test_each_alert_is_silent_then_fires_and_then_is_over(rules, tmp_path):
    assert sorted(rung.title for rung in ladder.RUNGS) == sorted(
        alert.title for alert in ALERTS
    )
    kept = {rung.title for rung in ladder.RUNGS if rung.kept is not None}
    assert kept == {alert.title for alert in ALERTS if alert.keep != "0m"}
    content, said = promtool.judge(ladder.trial(), tmp_path, rules)
    assert content, said


@pytest.mark.parametrize("trial", fleet.SHORTS, ids=lambda trial: trial.name)
def test_what_is_no_trouble_is_silent_and_leaks_are_found(trial, rules, tmp_path):
    content, said = promtool.judge(trial, tmp_path, rules)
    assert content, said


def test_days_are_no_trouble_and_hide_no_leak(tmp_path):
    content, said = promtool.judge(fleet.DAYS, tmp_path, PROMETHEUS)
    assert content, said


@pytest.mark.parametrize(
    ("memory", "alerts", "complaint"),
    [(300, ["OTelMemoryNearLimit"], "got: nil"), (870, [], "OTelMemoryNearLimit")],
    ids=["missing", "unexpected"],
)
def test_the_judge_notices_what_is_wrong(memory, alerts, complaint, rules, tmp_path):
    process = Process(memory=flat(memory))
    check = promtool.Check(process.instance, alerts)
    trial = promtool.Trial("wrong", 40, [process], [check])
    content, said = promtool.judge(trial, tmp_path, rules)
    assert not content
    assert complaint in said
