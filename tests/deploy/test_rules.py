# SPDX-License-Identifier: Apache-2.0
"""Alert rules: as built, about what exists, and firing for what they are for.

promtool is the judge, of the file for Prometheus and of Grafana's alike: those are
written down as Prometheus's rules first, query, threshold and all.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from deploy import names
from deploy.rules import build
from deploy.rules.alerts import ALERTS
from deploy.rules.model import Severity, inline
from deploy.rules.series import RECORDINGS

from . import fleet, ladder, promtool
from .shapes import Process, flat

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus/otel-memory.rules.yml"
GRAFANA = ROOT / "deploy/grafana/provisioning/alerting/otel-memory.yaml"
RUNBOOKS = ROOT / "docs/runbooks"
SIGNS = {"gt": ">", "lt": "<"}
HEADINGS = [
    "## What it means",
    "## What to look at",
    "## Leak or load",
    "## Now",
    "## Tomorrow",
    "## False alarm",
]
# Where nothing of the application's memory is in doubt.
NO_DOUBT = {
    "profiler-overhead",
    "heap-source-lost",
    "sampler-dropping",
    "profiler-failures",
}


def rules_of_prometheus() -> list[dict[str, Any]]:
    groups = yaml.safe_load(PROMETHEUS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts_of_prometheus() -> list[dict[str, Any]]:
    return [rule for rule in rules_of_prometheus() if "alert" in rule]


def alerts_of_grafana() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(GRAFANA.read_text())["groups"]
    return group["rules"]


def as_prometheus(rule: dict[str, Any]) -> dict[str, Any]:
    """Write one of Grafana's alerts as Prometheus would have it."""
    query, threshold = rule["data"]
    (condition,) = threshold["model"]["conditions"]
    assert rule["condition"] == threshold["refId"]
    assert threshold["model"]["expression"] == query["refId"]
    sign = SIGNS[condition["evaluator"]["type"]]
    (limit,) = condition["evaluator"]["params"]
    value = f"$values.{query['refId']}.Value"
    return {
        "alert": rule["title"],
        "expr": f"({query['model']['expr']}) {sign} {limit}",
        "for": rule["for"],
        "keep_firing_for": rule["keepFiringFor"],
        "labels": rule["labels"],
        "annotations": {
            key: text.replace(value, "$value")
            for key, text in rule["annotations"].items()
        },
    }


@pytest.fixture(params=["prometheus", "grafana"])
def rules(request, tmp_path) -> Path:
    if request.param == "prometheus":
        return PROMETHEUS
    path = tmp_path / "grafana.rules.yml"
    group = {"name": "all", "rules": [as_prometheus(r) for r in alerts_of_grafana()]}
    path.write_text(yaml.safe_dump({"groups": [group]}))
    return path


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


def walk(node: Any) -> Iterator[Any]:
    yield node
    below = [getattr(node, each, None) for each in ("lhs", "rhs", "expr")]
    below += [getattr(node, "vector_selector", None), *getattr(node, "args", ())]
    for each in below:
        if each is not None:
            yield from walk(each)


def selectors(expr: str) -> Iterator[promql.VectorSelector]:
    for node in walk(promql.parse(expr)):
        if isinstance(node, promql.VectorSelector):
            yield node


EXPRESSIONS = [
    pytest.param(rule["expr"], id=rule.get("alert") or rule["record"])
    for rule in rules_of_prometheus()
]


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_every_series_exists(expr):
    known = names.all_series()
    recorded = {each.name for each in RECORDINGS}
    found = list(selectors(expr))
    assert found
    for selector in found:
        assert selector.name in {*known, *recorded}
        labels = {matcher.name for matcher in selector.matchers.matchers}
        if labels:
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
    assert words <= {selector.name for selector in selectors(expr)} | labels


def test_recordings_are_made_before_they_are_used_and_all_are_used():
    recorded: list[str] = []
    for rule in rules_of_prometheus():
        used = [s.name for s in selectors(rule["expr"]) if ":" in s.name]
        assert set(used) <= set(recorded)
        if "record" in rule:
            recorded.append(rule["record"])
    asked = {s.name for rule in rules_of_prometheus() for s in selectors(rule["expr"])}
    assert set(recorded) <= asked


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


def test_what_has_no_result_is_well():
    assert {rule["noDataState"] for rule in alerts_of_grafana()} == {"OK"}


# --- What a human gets -------------------------------------------------------


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.slug)
def test_every_alert_has_a_runbook(alert):
    text = (RUNBOOKS / f"{alert.slug}.md").read_text()
    assert text.startswith(f"# {alert.title}\n")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    expected = list(HEADINGS)
    if alert.slug in NO_DOUBT:
        expected.remove("## Leak or load")
    assert headings == expected
    assert f"Severity: {alert.severity.value}" in text
    assert max(map(len, text.splitlines())) <= 88


def test_every_runbook_is_of_an_alert():
    pages = {path.stem for path in RUNBOOKS.glob("*.md")}
    assert pages == {alert.slug for alert in ALERTS} | {"README"}
    index = (RUNBOOKS / "README.md").read_text()
    for alert in ALERTS:
        assert f"[{alert.title}]({alert.slug}.md) | {alert.severity.value} |" in index


def test_links_of_runbooks_lead_to_files():
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_settings_that_runbooks_name_exist():
    tables = {
        f"{table}.{key}"
        for table, keys in names.SETTINGS.items()
        for key in keys
        if isinstance(keys, dict)
    }
    for page in RUNBOOKS.glob("*.md"):
        for name in re.findall(r"setting\s+`([^`]+)`", page.read_text()):
            assert name in tables, (page.name, name)


def test_panels_that_runbooks_name_exist():
    titles = {
        panel["title"]
        for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
    }
    for page in RUNBOOKS.glob("*.md"):
        text = " ".join(page.read_text().split())
        named = re.findall(r"[Pp]anel \*([^*]+)\*", text)
        assert set(named) <= titles, (page.name, set(named) - titles)


def test_what_wakes_is_about_requests_that_are_lost_soon():
    critical = {a.slug for a in ALERTS if a.severity is Severity.CRITICAL}
    assert critical == {"at-limit", "limit-forecast", "stalled"}


# --- What fires --------------------------------------------------------------


def judge(trial: promtool.Trial, folder: Path, rules: Path) -> tuple[bool, str]:
    content, said = promtool.run("test", "rules", trial.write(folder, rules))
    return content, re.sub(r"\n\s*\n+", "\n", said)[:4000]


def test_each_alert_is_silent_then_fires_and_then_is_over(rules, tmp_path):
    assert sorted(rung.title for rung in ladder.RUNGS) == sorted(
        alert.title for alert in ALERTS
    )
    content, said = judge(ladder.trial(), tmp_path, rules)
    assert content, said


@pytest.mark.parametrize("trial", fleet.SHORTS, ids=lambda trial: trial.name)
def test_what_is_no_trouble_is_silent_and_leaks_are_found(trial, rules, tmp_path):
    content, said = judge(trial, tmp_path, rules)
    assert content, said


def test_days_are_no_trouble_and_hide_no_leak(tmp_path):
    content, said = judge(fleet.DAYS, tmp_path, PROMETHEUS)
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
    content, said = judge(trial, tmp_path, rules)
    assert not content
    assert complaint in said
