# SPDX-License-Identifier: Apache-2.0
"""Colours, thresholds and words that panels share; the numbers are the settings'."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

from deploy.names import SETTINGS
from otel_memory import semconv

# Units of Grafana's. Per hour it has none: titles say so.
BYTES = "bytes"
BYTES_PER_SECOND = "binBps"
SHARE = "percentunit"
SECONDS = "s"
COUNT = "short"
PER_SECOND = "cps"

GOOD = "green"
BAD = "orange"
WORST = "red"
PLAIN = "blue"
UNKNOWN = "#8e8e8e"

Steps = tuple[tuple[float | None, str], ...]
"""From which value on a colour holds; the first one from None, which is always."""

WARNING = SETTINGS["limit"]["warning_ratio"]
CRITICAL = SETTINGS["limit"]["critical_ratio"]

NO_STEPS: Steps = ((None, PLAIN),)
LIMIT_STEPS: Steps = ((None, GOOD), (WARNING, BAD), (CRITICAL, WORST))
NONE_IS_GOOD: Steps = ((None, GOOD), (1, WORST))

_COLOR_BY_STATE = dict(
    zip(semconv.LEAK_STATES, (UNKNOWN, PLAIN, GOOD, BAD, WORST), strict=True)
)
COLOR_BY_ALERT = {
    semconv.ALERT_WARNING: BAD,
    semconv.ALERT_CRITICAL: WORST,
    semconv.ALERT_GROWTH: PLAIN,
    semconv.ALERT_LEAK: "purple",
}
STATE_STEPS: Steps = (
    (None, UNKNOWN),
    *((index, color) for index, color in enumerate(_COLOR_BY_STATE.values()) if index),
)


def bad_from(value: float) -> Steps:
    """Be good below a value and bad from there on."""
    return ((None, GOOD), (value, BAD))


def state_text(state: str) -> str:
    """Write a state of the verdict in words."""
    return state.replace("-", " ")


def state_mappings() -> list[models.ValueMapping]:
    """Show the metric's numbers as the verdict's words."""
    return [
        models.ValueMap(
            options={
                str(index): models.ValueMappingResult(
                    text=state_text(state), color=color, index=index
                )
                for index, (state, color) in enumerate(_COLOR_BY_STATE.items())
            }
        )
    ]


def absent_mapping() -> models.ValueMapping:
    """Show in grey what is absent, which else has the colour of the lowest step."""
    null = models.SpecialValueMatch.NULL
    result = models.ValueMappingResult(color=UNKNOWN)
    return models.SpecialValueMap(
        options=models.DashboardSpecialValueMapOptions(match=null, result=result)
    )


def state_color(state: str) -> str:
    """Give the colour of a state of the verdict."""
    return _COLOR_BY_STATE[state]


def thresholds(steps: Steps) -> builders.ThresholdsConfig:
    """Build the thresholds of a panel."""
    return (
        builders.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )
