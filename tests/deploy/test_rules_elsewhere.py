# SPDX-License-Identifier: Apache-2.0
"""The same rules, by judges that Debian lacks: Prometheus 3's and VictoriaMetrics'.

`stack/build.sh` builds both tools; `OTEL_MEMORY_STACK` names the folder. They differ
from Debian's promtool, so that rules avoid what would matter:

- To Prometheus 3 a range begins after its left edge: a sample less.
- To MetricsQL `increase` of a new series begins at 0, not at its first sample.
- To vmalert-tool a rule sees what was recorded a minute ago: slopes of recordings
  through an hour are less by a 600th.
"""

from __future__ import annotations

import pytest

from . import fleet, ladder, promtool, servers
from .rule_files import PROMETHEUS
from .shapes import Process, flat

pytestmark = pytest.mark.stack

JUDGES = {
    "promtool": promtool.judge,
    "vmalert-tool": promtool.judge_by_vmalert,
}


@pytest.fixture(params=JUDGES)
def judge(request, tmp_path):
    tool = servers.built(request.param)
    return lambda trial, rules: JUDGES[request.param](trial, tmp_path, rules, tool)


def test_promtool_accepts_them(rules):
    tool = servers.built("promtool")
    content, said = promtool.run("check", "rules", rules, tool=tool)
    assert content, said


def test_prometheus_3_sees_each_alert_silent_firing_and_over(rules, tmp_path):
    tool = servers.built("promtool")
    content, said = promtool.judge(ladder.trial(), tmp_path, rules, tool)
    assert content, said


def test_vmalert_sees_each_alert_silent_firing_and_over(rules, tmp_path):
    tool = servers.built("vmalert-tool")
    # Grafana's have no recordings.
    trial = ladder.trial(late=rules == PROMETHEUS)
    content, said = promtool.judge_by_vmalert(trial, tmp_path, rules, tool)
    assert content, said


@pytest.mark.parametrize("trial", fleet.SHORTS, ids=lambda trial: trial.name)
def test_what_is_no_trouble_is_silent_and_leaks_are_found(trial, rules, judge):
    content, said = judge(trial, rules)
    assert content, said


def test_days_are_no_trouble_and_hide_no_leak(judge):
    content, said = judge(fleet.DAYS, PROMETHEUS)
    assert content, said


@pytest.mark.parametrize(
    ("memory", "alerts"),
    [(300, ["OTelMemoryNearLimit"]), (870, [])],
    ids=["missing", "unexpected"],
)
def test_the_judge_notices_what_is_wrong(memory, alerts, rules, judge):
    process = Process(memory=flat(memory))
    check = promtool.Check(process.instance, alerts)
    content, said = judge(promtool.Trial("wrong", 40, [process], [check]), rules)
    assert not content
    assert "OTelMemoryNearLimit" in said
