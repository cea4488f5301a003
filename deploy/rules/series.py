# SPDX-License-Identifier: Apache-2.0
"""The recordings: lines through an hour, floors, new highs and traffic.

Growth is the slope of a line through an hour. It counts if there is an hour of samples
after the warm-up, and if the line explains most of what the hour varies by (a step
explains 75 % at most, teeth and bursts less). Growth of the process is that of its
floor, beyond what the growth of its traffic explains, and to a level above anything
before: swings come back.

Series of one process without attributes have equal labels, so they are joined without
`on`. Those with attributes are filtered `on (job, instance)`, and where figures meet,
joined by all labels but the attributes': two processes may share job and instance (of
two clusters in one store, or before and after a deploy), and figures that meet more
than one fail for all the fleet.
"""

from __future__ import annotations

from deploy import names
from deploy.rules.model import Recording, number
from otel_memory import semconv

_SETTINGS = names.SETTINGS
_EXPORT_SECONDS = _SETTINGS["export"]["interval_seconds"]
HOUR_SECONDS = 3600
# An hour after the warm-up, and so no restart within that hour either.
SETTLED_SECONDS = _SETTINGS["growth"]["warm_up_seconds"] + HOUR_SECONDS
_FORECAST_SECONDS = _SETTINGS["forecast"]["warm_up_seconds"] + HOUR_SECONDS
# A complete hour; not on the edge, for versions differ in whether it counts.
_ENOUGH_SAMPLES = int(
    HOUR_SECONDS / _EXPORT_SECONDS * _SETTINGS["export"]["complete_ratio"]
)
YOUNG_SECONDS = 2 * _EXPORT_SECONDS
"""Whatever the phase: of a process that is younger there is a first sample."""
_FLOOR = "5m"
RATE = f"{max(5, 5 * _EXPORT_SECONDS // 60)}m"

ON_PROCESS = f"on ({names.JOB}, {names.INSTANCE})"
_ROWS = f"{names.SPAN_NAME}, {names.SPAN_KIND}, {names.ENTRY}, {names.SORT}"
_ENTRIES = f"{names.SPAN_KIND}, {names.ENTRY}, {names.SORT}"
# Rows that nobody's call explains have bytes too, and no count.
_SPANS_ONLY = f'{{{names.SORT}="{semconv.SORT_SPAN}"}}'

LIMIT = names.series(semconv.LIMIT)
USAGE = names.series(semconv.LIMIT_USAGE)
ANONYMOUS = names.series(semconv.PROCESS_ANONYMOUS)
UPTIME = names.series(semconv.PROCESS_UPTIME)
COUNT = names.series(semconv.SPAN_COUNT)
LIVE = names.series(semconv.SPAN_LIVE)
PEAK = names.series(semconv.SPAN_PEAK)

RATIO_OF_LIMIT = f"{USAGE} / ({LIMIT} > 0)"
LIMIT_RATIO = "otel_memory:limit_usage:ratio"
USAGE_SLOPE = "otel_memory:limit_usage_bytes:deriv1h"
USAGE_R2 = "otel_memory:limit_usage_bytes:r2_1h"
ANONYMOUS_FLOOR = names.ANONYMOUS_FLOOR
ANONYMOUS_SLOPE = "otel_memory:process_anonymous_bytes:deriv1h"
ANONYMOUS_R2 = "otel_memory:process_anonymous_bytes:r2_1h"
ANONYMOUS_HIGH = "otel_memory:process_anonymous_bytes:new_high"
ANONYMOUS_GROWTH = "otel_memory:process_anonymous_bytes:growth_per_hour"
SPAN_LIVE = "otel_memory:span_heap_live_bytes:watched"
SPAN_SLOPE = "otel_memory:span_heap_live_bytes:deriv1h"
SPAN_R2 = "otel_memory:span_heap_live_bytes:r2_1h"
SPAN_RATE = "otel_memory:span_count:rate1h"
SPAN_GROWTH = "otel_memory:span_heap_live_bytes:growth_per_hour"
SPAN_PEAK_RATIO = "otel_memory:span_heap_peak:ratio"


def enough_steps(minutes: int) -> int:
    """Count the steps that a window should have, one a minute whatever the interval.

    Not all of them: who thrashes at its limit does not answer each scrape.
    """
    return int(minutes * _SETTINGS["export"]["complete_ratio"])


def _slope(hour: str, metric: str, settled_seconds: int) -> str:
    """Bytes a second, where the process has settled and the hour is complete."""
    return (
        f"deriv({hour})\n"
        f"  and ({UPTIME} > {settled_seconds})\n"
        f"  and (count_over_time({metric}[1h]) >= {_ENOUGH_SAMPLES})"
    )


def _r2(hour: str) -> str:
    """How much of the hour's variance the line explains; time's is its square / 12."""
    return (
        f"deriv({hour}) ^ 2 * ({HOUR_SECONDS} ^ 2 / 12)\n"
        f"  / (stdvar_over_time({hour}) > 0)"
    )


def _beyond_traffic(slope: str, level: str, rate: str, rate_before: str) -> str:
    """Bytes an hour that the growth of traffic since the hour before leaves over."""
    factor = number(_SETTINGS["growth"]["traffic_factor"])
    return (
        f"{slope} * {HOUR_SECONDS}\n"
        f"  - {level} * {factor}\n"
        f"  * clamp_min({rate} / ({rate_before} > 0) - 1, 0)"
    )


def _completions(leave_out: str, offset: str = "", which: str = "") -> str:
    return f"sum without ({leave_out}) (rate({COUNT}{which}[1h]{offset}))"


# Floors before, too: else a leak would have to pass the highest burst of the day.
# Only the last life counts after a restart under the same labels: a leak that got the
# process killed would otherwise have to pass its old high first.
_NEW_HIGH = f"""\
(min_over_time({ANONYMOUS}[15m]) > max_over_time({ANONYMOUS_FLOOR}[1d:5m] offset 1h))
  or (
    (min_over_time({ANONYMOUS}[15m]) > max_over_time({ANONYMOUS_FLOOR}[1h:5m] offset 1h))
    and (resets({UPTIME}[1d]) > 0)
    and ({UPTIME} > {SETTLED_SECONDS + HOUR_SECONDS})
  )"""

_PROCESS_GROWTH = _beyond_traffic(
    ANONYMOUS_SLOPE,
    ANONYMOUS,
    _completions(_ROWS),
    _completions(_ROWS, " offset 1h"),
)

RECORDINGS = (
    Recording(LIMIT_RATIO, RATIO_OF_LIMIT),
    Recording(USAGE_SLOPE, _slope(f"{USAGE}[1h]", USAGE, _FORECAST_SECONDS)),
    Recording(USAGE_R2, _r2(f"{USAGE}[1h]")),
    Recording(ANONYMOUS_FLOOR, f"min_over_time({ANONYMOUS}[{_FLOOR}])"),
    Recording(
        ANONYMOUS_SLOPE, _slope(f"{ANONYMOUS_FLOOR}[1h:1m]", ANONYMOUS, SETTLED_SECONDS)
    ),
    Recording(ANONYMOUS_R2, _r2(f"{ANONYMOUS_FLOOR}[1h:1m]")),
    Recording(ANONYMOUS_HIGH, _NEW_HIGH),
    Recording(
        ANONYMOUS_GROWTH,
        f"({_PROCESS_GROWTH})\n  or {ANONYMOUS_SLOPE} * {HOUR_SECONDS}",
    ),
    Recording(
        SPAN_LIVE,
        f"sum without ({_ENTRIES}) ({LIVE}{_SPANS_ONLY})"
        f" > {_SETTINGS['spans']['watched_bytes']}",
    ),
    Recording(
        SPAN_SLOPE,
        f"deriv({SPAN_LIVE}[1h:1m])\n"
        f"  and (count_over_time({SPAN_LIVE}[1h:1m]) >= {enough_steps(60)})\n"
        f"  and {ON_PROCESS} ({UPTIME} > {SETTLED_SECONDS})",
    ),
    Recording(SPAN_R2, _r2(f"{SPAN_LIVE}[1h:1m]")),
    Recording(SPAN_RATE, _completions(_ENTRIES, which=_SPANS_ONLY)),
    Recording(
        SPAN_GROWTH,
        _beyond_traffic(
            SPAN_SLOPE,
            SPAN_LIVE,
            SPAN_RATE,
            _completions(_ENTRIES, " offset 1h", _SPANS_ONLY),
        ),
    ),
    Recording(
        SPAN_PEAK_RATIO,
        f"max without ({_ENTRIES}) ({PEAK})\n"
        f"  / ignoring ({names.SPAN_NAME}) group_left () ({LIMIT} > 0)\n"
        f"  and {ON_PROCESS} ({UPTIME} > {_SETTINGS['spans']['warm_up_seconds']})",
    ),
)
"""In the order in which they need each other."""
