# SPDX-License-Identifier: Apache-2.0
"""What the dashboards ask: of the chosen processes, of what we emit, and rightly.

An expression asks for metrics that exist, in the way that their kind allows, by labels
that they have.
"""

from __future__ import annotations

import re

import promql_parser as promql
import pytest

from deploy import names
from otel_memory import semconv
from otel_memory.semconv import Kind

from .dashboards import (
    DASHBOARDS,
    EXPRESSIONS,
    NAMES,
    OF_PROMETHEUS,
    PANELS,
    RATE_INTERVAL,
    grouping,
    labels_of,
    matchers,
    parse,
    selectors,
    walk,
)
from .rule_files import alerts_of_prometheus, rules_of_prometheus

RATES = {"rate", "irate", "increase"}
COUNTED = {Kind.OBSERVABLE_COUNTER, Kind.HISTOGRAM}
CHOSEN = {("job", "MatchOp.Re", "$job"), ("instance", "MatchOp.Re", "$instance")}


@pytest.mark.parametrize(("expression", "legend"), EXPRESSIONS)
def test_an_expression_selects_the_chosen_processes(expression, legend):
    found = list(selectors(parse(expression)))
    assert found
    for selector, _ in found:
        assert matchers(selector) >= CHOSEN


@pytest.mark.parametrize("name", NAMES)
def test_variables_in_expressions_exist_and_all_are_used(name):
    dashboard = DASHBOARDS[name]
    asked = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", ())]
    used = {
        value.removeprefix("$")
        for expression in asked
        for selector, _ in selectors(parse(expression))
        for _, _, value in matchers(selector)
        if value.startswith("$")
    }
    known = [each["name"] for each in dashboard["templating"]["list"]]
    assert used == set(known[1:])


@pytest.mark.parametrize(("expression", "legend"), EXPRESSIONS)
def test_an_expression_asks_for_what_there_is(expression, legend):
    for selector, _ in selectors(parse(expression)):
        assert selector.name in {*names.all_series(), *OF_PROMETHEUS}
        used = {name for name, _, _ in matchers(selector)}
        assert used <= labels_of(selector.name)


@pytest.mark.parametrize(("expression", "legend"), EXPRESSIONS)
def test_labels_are_those_of_what_is_asked(expression, legend):
    tree = parse(expression)
    for node, _ in walk(tree):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            assert node.modifier.type == promql.AggModifierType.By
            for selector, _ in selectors(node.expr):
                assert set(node.modifier.labels) <= labels_of(selector.name)
    assert set(re.findall(r"{{(\w+)}}", legend)) <= grouping(tree)


@pytest.mark.parametrize(("expression", "legend"), EXPRESSIONS)
def test_counters_are_rates_and_nothing_else_is(expression, legend):
    for selector, above in selectors(parse(expression)):
        if selector.name in OF_PROMETHEUS:
            continue
        called = {each.func.name for each in above if isinstance(each, promql.Call)}
        is_counted = names.all_series()[selector.name].kind in COUNTED
        assert bool(called & RATES) == is_counted
        assert not called & {"resets", "changes"}


@pytest.mark.parametrize("panel", PANELS)
def test_rates_are_over_grafanas_interval(panel):
    for target in panel["targets"]:
        for node, _ in walk(parse(target["expr"])):
            if isinstance(node, promql.Call) and node.func.name in RATES:
                assert node.args[0].range == RATE_INTERVAL


def test_what_is_divided_by_completed_spans_is_of_spans():
    """Rows that are no spans complete nothing, and have bytes."""
    live, count = names.series(semconv.SPAN_LIVE), names.series(semconv.SPAN_COUNT)
    alone = (names.SORT, "MatchOp.Equal", semconv.SORT_SPAN)
    found = 0
    for expression, _ in (each.values for each in EXPRESSIONS):
        tree = list(selectors(parse(expression)))
        if {selector.name for selector, _ in tree} >= {live, count}:
            found += 1
            assert all(alone in matchers(selector) for selector, _ in tree)
    assert found


def test_single_spans_lead_to_their_traces():
    bucket = names.series(semconv.ENTRY_PEAK, "_bucket")
    shown = {
        panel["type"]: target.get("exemplar")
        for panel in DASHBOARDS["spans"]["panels"]
        for target in panel.get("targets", ())
        if bucket in target["expr"]
    }
    assert shown == {"timeseries": True, "heatmap": True}


def test_deltas_of_spans_are_nowhere():
    for dashboard in DASHBOARDS.values():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                assert "delta" not in target["expr"]


def test_what_fires_is_shown_under_the_name_of_the_rules():
    pattern = {
        value
        for expression, _ in (each.values for each in EXPRESSIONS)
        for selector, _ in selectors(parse(expression))
        for name, _, value in matchers(selector)
        if name == "alertname"
    }
    assert len(pattern) == 1
    for rule in alerts_of_prometheus():
        assert re.fullmatch(pattern.copy().pop(), rule["alert"])


def test_what_tells_that_rules_are_evaluated_is_recorded():
    recorded = {rule.get("record") for rule in rules_of_prometheus()}
    assert names.ANONYMOUS_FLOOR in recorded
