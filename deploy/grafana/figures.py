# SPDX-License-Identifier: Apache-2.0
"""Figures that several dashboards show, and where they begin to be bad."""

from __future__ import annotations

from deploy.grafana import looks
from deploy.grafana.promql import HOUR_SECONDS, select
from deploy.names import SETTINGS
from otel_memory import semconv

# All of one process and without attributes: they join as they are.
USAGE_SHARE = f"{select(semconv.LIMIT_USAGE)} / {select(semconv.LIMIT)}"
_LEFT = f"{select(semconv.LIMIT)} - {select(semconv.LIMIT_USAGE)}"
# A configured limit may be passed.
SECONDS_LEFT = (
    f"{HOUR_SECONDS} * clamp_min({_LEFT}, 0) / ({select(semconv.GROWTH)} > 0)"
)
VERDICT = select(semconv.LEAK_STATE)
LEAKING = semconv.LEAK_STATES.index("leaking")

WARNING = f"{looks.WARNING:.0%}"
CRITICAL = f"{looks.CRITICAL:.0%}"
FORECAST_SECONDS = SETTINGS["forecast"]["seconds_to_limit"]
FORECAST = f"{FORECAST_SECONDS / HOUR_SECONDS:g} h"
PRESSURE_SOME = SETTINGS["pressure"]["some_ratio"]
PRESSURE_FULL = SETTINGS["pressure"]["full_ratio"]
WATCHER = SETTINGS["profiler"]["watcher_ratio"]

GROWTH_STEPS = looks.bad_from(SETTINGS["growth"]["bytes_per_hour"])
SPAN_GROWTH_STEPS = looks.bad_from(SETTINGS["spans"]["bytes_per_hour"])
PRESSURE_STEPS = looks.bad_from(PRESSURE_SOME)
WATCHER_STEPS = looks.bad_from(WATCHER)
LEFT_STEPS: looks.Steps = (
    (None, looks.WORST),
    (FORECAST_SECONDS, looks.BAD),
    (24 * HOUR_SECONDS, looks.GOOD),
)
