# SPDX-License-Identifier: Apache-2.0
"""Runbooks: one for each alert, and all that they name exists."""

from __future__ import annotations

import re
import shlex

import pytest

import otel_memory
from deploy import names
from deploy.rules.alerts import ALERTS
from otel_memory import config, semconv
from otel_memory.cli import _main

from .rule_files import PANELS, ROOT

RUNBOOKS = ROOT / "docs/runbooks"
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
    "telemetry-lost",
}
PAGES = sorted(RUNBOOKS.glob("*.md"))
TEXTS = [pytest.param(page.read_text(), id=page.stem) for page in PAGES]


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
    pages = {path.stem for path in PAGES}
    assert pages == {alert.slug for alert in ALERTS} | {"README"}
    index = (RUNBOOKS / "README.md").read_text()
    for alert in ALERTS:
        assert f"[{alert.title}]({alert.slug}.md) | {alert.severity.value} |" in index


def test_links_of_runbooks_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_settings_that_runbooks_name_exist():
    tables = {
        f"{table}.{key}"
        for table, keys in names.SETTINGS.items()
        for key in keys
        if isinstance(keys, dict)
    }
    for page in PAGES:
        for name in re.findall(r"setting\s+`([^`]+)`", page.read_text()):
            assert name in tables, (page.name, name)


def test_panels_that_runbooks_name_exist():
    titles = {panel["title"] for panel in PANELS.values()}
    for page in PAGES:
        text = " ".join(page.read_text().split())
        named = re.findall(r"[Pp]anel \*([^*]+)\*", text)
        assert set(named) <= titles, (page.name, set(named) - titles)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.slug)
def test_runbooks_name_the_panel_that_the_alert_leads_to(alert):
    text = " ".join((RUNBOOKS / f"{alert.slug}.md").read_text().split())
    looks, _ = text.split("## What to look at")[1].split("## Now")
    panel = PANELS[alert.dashboard_uid, alert.panel.id]
    assert f"anel *{panel['title']}*" in looks


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in titles}


def test_anchors_of_links_exist():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:]+)#([^)]+)\)", page.read_text()):
            known = anchors((page.parent / target).read_text())
            assert anchor in known, (page.name, target, anchor)


@pytest.mark.parametrize("text", TEXTS)
def test_variables_that_runbooks_name_exist(text):
    known = {setting.variable for setting in config.SETTINGS}
    found = re.findall(r"OTEL_PYTHON_MEMORY_\w+", text)
    assert set(found) <= known


@pytest.mark.parametrize("text", TEXTS)
def test_attributes_labels_and_events_that_runbooks_name_exist(text):
    in_code = {each for each in vars(semconv).values() if isinstance(each, str)}
    in_prometheus = {names.label(each) for each in in_code} | set(names.all_series())
    public = {f"otel_memory.{each}" for each in otel_memory.__all__}
    known = {"otel_memory", *public, *in_code, *in_prometheus}
    found = re.findall(r"\botel_memory[.\w]*\w", text)
    assert set(found) <= known


@pytest.mark.parametrize("text", TEXTS)
def test_commands_that_runbooks_name_are_understood(text):
    commands = re.findall(r"`(otel-memory [^`]+)`", text)
    commands += re.findall(r"^ *(otel-memory .+?)(?: +#.*)?$", text, re.MULTILINE)
    for command in commands:
        _, *words = shlex.split(command)
        if words == ["top"]:  # in a sentence, about nobody
            continue
        if "--" in words:
            words = words[: words.index("--")]
        assert _main._parser().parse_args(words).name == words[0]
