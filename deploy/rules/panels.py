# SPDX-License-Identifier: Apache-2.0
"""The panels that alerts lead to, by what they show.

The ids are those that `deploy/grafana` gives, for good. They are written down again
here, for rules are built without Grafana's SDK.
"""

from __future__ import annotations

from enum import Enum


class Panel(Enum):
    """One panel: the dashboard's key in the settings, and the panel's id there."""

    PROCESSES = ("fleet", 101)
    MEMORY = ("process", 201)
    LIMIT_SHARE = ("process", 202)
    GROWTH = ("process", 302)
    PRESSURE = ("process", 401)
    KILLS = ("process", 403)
    HEAP_SOURCE = ("process", 602)
    SAMPLES = ("process", 603)
    WATCHER = ("process", 606)
    FAILURES = ("process", 607)
    SPAN_GROWTH = ("spans", 103)
    SPAN_PEAK = ("spans", 301)

    def __init__(self, dashboard: str, id: int) -> None:
        """Keep what the value has."""
        self.dashboard = dashboard
        self.id = id
