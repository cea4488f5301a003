# SPDX-License-Identifier: Apache-2.0
"""Each alert once: silent, firing and over, with all that it tells."""

from __future__ import annotations

from dataclasses import replace

from deploy import names
from deploy.rules.alerts import ALERTS

from .promtool import Check, Told, Trial
from .rungs import MINUTES, RUNGS, Rung


def trial(*, late: bool = False) -> Trial:
    """Give all rungs as one fleet, each process with its own name.

    Args:
        late: Rules do not see what was recorded in the same minute, as in vmalert.
    """
    checks = [
        check
        for rung in RUNGS
        for check in (
            Check(rung.title, [rung.key, *rung.beside]),
            Check(rung.title, [], rung.silent),
            Check(rung.title, [rung.key, *rung.also], rung.firing),
            Check(rung.title, [], rung.over),
        )
    ]
    checks += [
        Check(rung.title, [rung.key, *rung.also_kept], rung.kept)
        for rung in RUNGS
        if rung.kept is not None
    ]
    processes = [replace(rung.process, instance=rung.title) for rung in RUNGS]
    told = [
        _told(rung, rung.late if late and rung.late else rung.description)
        for rung in RUNGS
    ]
    return Trial("ladder", MINUTES, processes, checks, told)


def _told(rung: Rung, description: str) -> Told:
    alert = next(each for each in ALERTS if each.title == rung.title)
    urls = names.SETTINGS["urls"]
    uid = names.SETTINGS["dashboards"][rung.dashboard]
    span = rung.labels.get(names.SPAN_NAME)
    job = rung.process.job
    chosen = f"var-job={job.replace('/', '%2F')}&var-instance={rung.title}"
    if span:
        chosen += f"&var-span_name={span}"
    if rung.dashboard == "fleet":
        chosen = ""
    return Told(
        rung.firing,
        rung.title,
        [
            {
                "exp_labels": {
                    names.JOB: job,
                    names.INSTANCE: rung.title,
                    "severity": rung.severity,
                    **rung.labels,
                },
                "exp_annotations": {
                    "summary": alert.summary,
                    "description": description.replace("WHO", f"{job} ({rung.title})"),
                    "dashboard_url": f"{urls['grafana']}/d/{uid}?{chosen}",
                    "runbook_url": f"{urls['runbooks']}/{alert.slug}.md",
                },
            }
        ],
    )
