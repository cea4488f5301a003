# SPDX-License-Identifier: Apache-2.0
"""The ladder of alerts, the nearest harm first.

Every line of the table has a page in `docs/runbooks/`, named by its slug.
"""

from __future__ import annotations

from deploy import names
from deploy.rules import collector, series
from deploy.rules.model import Alert, Severity
from deploy.rules.panels import Panel
from otel_memory import semconv

_LIMIT = names.SETTINGS["limit"]
_FORECAST = names.SETTINGS["forecast"]
_GROWTH = names.SETTINGS["growth"]
_PRESSURE = names.SETTINGS["pressure"]
_SPANS = names.SETTINGS["spans"]
_PROFILER = names.SETTINGS["profiler"]

_PROCESS = "{{ $labels.job }} ({{ $labels.instance }})"
_SPAN = "{{ $labels." + names.SPAN_NAME + " }}"
_SHARE = "{{ $value | humanizePercentage }}"
_PER_HOUR = "{{ $value | humanize1024 }}B an hour"
_TIMES = '{{ $value | printf "%.0f" }}'

_RATIO = series.LIMIT_RATIO
_KILLS = names.series(semconv.OOM_KILLS)
_FAILURES = names.series(semconv.FAILURES)
_SAMPLES = names.series(semconv.SAMPLER_SAMPLES)
_DROPPED = names.series(semconv.SAMPLER_DROPPED)
_LEAKING = semconv.LEAK_STATES.index("leaking")
_YOUNG = f"{series.UPTIME} < {series.YOUNG_SECONDS}"
# What is full after a start ended nothing. Not as recorded: where that comes late, the
# old process's last reading would pass for one of the new process.
_BEFORE_START = f"({series.RATIO_OF_LIMIT} unless ({_YOUNG}))"
# A source that is off by choice has no reason.
_NO_FIGURES = (
    f'{names.HEAP_SOURCE}=~"{semconv.SOURCE_OFF}|{semconv.SOURCE_LOST}", '
    f'{names.HEAP_REASON}!=""'
)


def _stalled(metric: semconv.Metric, which: str = "") -> str:
    return f"rate({names.series(metric)}{which}[{series.RATE}])"


def _risen(counter: str, window: str) -> str:
    """Count exactly, and nothing from before: where a series begins, databases differ.

    To VictoriaMetrics `increase` of a new series begins at 0, to Prometheus at its
    first sample.
    """
    return f"{counter} - min_over_time({counter}[{window}])"


def _seen(minutes: int) -> str:
    """Ask for readings: a window over a start may have a single one."""
    steps = f"count_over_time({_RATIO}[{minutes}m:1m])"
    return f"{steps} >= {series.enough_steps(minutes)}"


ALERTS = (
    Alert(
        "at limit",
        Severity.CRITICAL,
        f"min_over_time({_RATIO}[5m:1m])",
        ">",
        _LIMIT["critical_ratio"],
        "The memory limit is almost reached.",
        f"{_PROCESS} has been above {_SHARE} of its memory limit for minutes; "
        "the kernel kills at 100%.",
        Panel.LIMIT_SHARE,
        # What has ended has samples in the window, too.
        guards=(_RATIO, _seen(5)),
        pending="2m",
        keep="5m",
    ),
    Alert(
        "near limit",
        Severity.WARNING,
        f"min_over_time({_RATIO}[10m:1m])",
        ">",
        _LIMIT["warning_ratio"],
        "Little is left below the memory limit.",
        f"{_PROCESS} has not been below {_SHARE} of its memory limit for ten minutes.",
        Panel.LIMIT_SHARE,
        guards=(_RATIO, _seen(10)),
        pending="5m",
        keep="10m",
    ),
    Alert(
        "limit forecast",
        Severity.CRITICAL,
        f"({series.LIMIT} - {series.USAGE}) / ({series.USAGE_SLOPE} > 0)",
        "<",
        _FORECAST["seconds_to_limit"],
        "Memory grows in a straight line and reaches the limit within hours.",
        f"{_PROCESS} reaches its memory limit in {{{{ $value | humanizeDuration }}}} "
        "if it goes on growing as in the last hour.",
        Panel.MEMORY,
        guards=(
            f"{_RATIO} > {_FORECAST['used_ratio']}",
            # Who is beyond a limit that does not kill reaches it no more.
            f"{_RATIO} < 1",
            f"{series.USAGE_R2} > {_GROWTH['r2']}",
            # A warm-up slackens, and so does what came in steps.
            f"deriv({series.USAGE}[30m])"
            f" > {_FORECAST['slack_ratio']} * {series.USAGE_SLOPE}",
        ),
        pending="15m",
        keep="15m",
    ),
    Alert(
        "OOM kill",
        Severity.WARNING,
        _risen(_KILLS, "15m"),
        ">",
        0,
        "The kernel killed a process of the container for want of memory.",
        f"In the container of {_PROCESS} {_TIMES} process(es) were killed at the "
        "memory limit in the last 15 minutes.",
        Panel.KILLS,
    ),
    Alert(
        "OOM restart",
        Severity.WARNING,
        # One reading that is missing is no end.
        f"((last_over_time({_RATIO}[15m:1m]) unless last_over_time({_RATIO}[3m:1m]))\n"
        f"  or (max_over_time({_BEFORE_START}[15m:1m]) and ({_YOUNG})))",
        ">",
        _LIMIT["critical_ratio"],
        "A process ended while its memory limit was almost reached.",
        f"{_PROCESS} was at {_SHARE} of its memory limit and then ended or started "
        "anew; probably it was killed.",
        Panel.LIMIT_SHARE,
        keep="10m",
    ),
    Alert(
        "stalled",
        Severity.CRITICAL,
        _stalled(
            semconv.PRESSURE_FULL,
            f'{{{names.PRESSURE_SCOPE}="{semconv.PRESSURE_CGROUP}"}}',
        ),
        ">",
        _PRESSURE["full_ratio"],
        "The whole container stands still, waiting for memory.",
        f"All tasks in the container of {_PROCESS} waited for memory {_SHARE} of the "
        "time.",
        Panel.PRESSURE,
        pending="5m",
        keep="5m",
    ),
    Alert(
        "pressure",
        Severity.WARNING,
        _stalled(semconv.PRESSURE_SOME),
        ">",
        _PRESSURE["some_ratio"],
        "Tasks wait for memory.",
        f"At {_PROCESS} some tasks waited for memory {_SHARE} of the time (pressure of "
        f"the {{{{ $labels.{names.PRESSURE_SCOPE} }}}}).",
        Panel.PRESSURE,
        pending="10m",
        keep="10m",
    ),
    Alert(
        "leak",
        Severity.WARNING,
        names.series(semconv.GROWTH),
        ">",
        0,
        "The process itself says that it leaks.",
        f"The verdict of {_PROCESS} is leaking: it grows by {_PER_HOUR}, which neither "
        "warm-up, a filling cache nor traffic explains.",
        Panel.GROWTH,
        guards=(f"{names.series(semconv.LEAK_STATE)} == {_LEAKING}",),
        pending="10m",
        keep="30m",
    ),
    Alert(
        "steady growth",
        Severity.WARNING,
        series.ANONYMOUS_GROWTH,
        ">",
        _GROWTH["bytes_per_hour"],
        "Memory grows in a straight line to a new high, and traffic does not.",
        f"{_PROCESS} grows by {_PER_HOUR} more than its traffic explains.",
        Panel.MEMORY,
        guards=(f"{series.ANONYMOUS_R2} > {_GROWTH['r2']}", series.ANONYMOUS_HIGH),
        pending="1h",
        keep="15m",
    ),
    Alert(
        "span growth",
        Severity.WARNING,
        series.SPAN_GROWTH,
        ">",
        _SPANS["bytes_per_hour"],
        "What spans of one name leave behind grows from call to call.",
        f"{_SPAN} in {_PROCESS} holds {_PER_HOUR} more than its traffic explains.",
        Panel.SPAN_GROWTH,
        guards=(
            f"{series.SPAN_R2} > {_GROWTH['r2']}",
            f"min_over_time({series.SPAN_LIVE}[15m:1m])"
            f" > max_over_time({series.SPAN_LIVE}[3h:1m] offset 1h)",
            f"{series.SPAN_RATE} * {series.HOUR_SECONDS} >= {_SPANS['spans_per_hour']}",
        ),
        pending="30m",
        keep="15m",
        extra_labels=(names.SPAN_NAME,),
    ),
    Alert(
        "large request",
        Severity.WARNING,
        f"max_over_time({series.SPAN_PEAK_RATIO}[10m:1m])",
        ">",
        _SPANS["request_ratio"],
        "A single span takes a large part of the memory limit.",
        f"One {_SPAN} in {_PROCESS} took {_SHARE} of the memory limit; a few at once "
        "get the process killed.",
        Panel.SPAN_PEAK,
        # A request of every hour is one trouble, and not one every hour.
        keep="1h",
        extra_labels=(names.SPAN_NAME,),
    ),
    Alert(
        "profiler overhead",
        Severity.WARNING,
        f"rate({names.series(semconv.WATCHER_TIME)}[15m])",
        ">",
        _PROFILER["watcher_ratio"],
        "Measuring memory takes more of the processor than it should.",
        f"The background thread of otel-memory takes {_SHARE} of a processor in "
        f"{_PROCESS}.",
        Panel.WATCHER,
        pending="15m",
        keep="15m",
    ),
    Alert(
        "heap source lost",
        Severity.INFO,
        f"{names.series(semconv.HEAP_SOURCE)}{{{_NO_FIGURES}}}",
        ">",
        0,
        "There are no heap figures, though nobody turned them off.",
        f"The heap source of {_PROCESS} is {{{{ $labels.{names.HEAP_SOURCE} }}}}: "
        f"{{{{ $labels.{names.HEAP_REASON} }}}}.",
        Panel.HEAP_SOURCE,
        pending="15m",
    ),
    Alert(
        "sampler dropping",
        Severity.INFO,
        f"rate({_DROPPED}[15m]) / (rate({_SAMPLES}[15m]) + rate({_DROPPED}[15m]))",
        ">",
        _PROFILER["dropped_ratio"],
        "Live bytes are too low, for the sampler drops samples.",
        f"The sampler of {_PROCESS} drops {_SHARE} of its samples.",
        Panel.SAMPLES,
        pending="15m",
        keep="15m",
    ),
    Alert(
        "profiler failures",
        Severity.INFO,
        # A young process's first sample has the failures of its start already.
        f"(({_FAILURES} and ({series.UPTIME} < {series.HOUR_SECONDS}))\n"
        f"  or ({_risen(_FAILURES, '1h')}))",
        ">",
        0,
        "otel-memory itself failed; the application did not notice.",
        f"otel-memory failed {_TIMES} time(s) in {_PROCESS} in the last hour.",
        Panel.FAILURES,
    ),
    Alert(
        "telemetry lost",
        Severity.WARNING,
        f"(({collector.DOWN} > 0)\n  or ({collector.LOST}))",
        ">",
        0,
        "Metrics are lost on their way, so other alerts may be silent.",
        f"The Collector {_PROCESS} does not answer, or could not deliver all metrics "
        "within the last 15 minutes.",
        Panel.PROCESSES,
        pending="5m",
        keep="15m",
        of_pipeline=True,
    ),
)
"""Each rung; the order is that of the files."""
