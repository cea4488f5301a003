# SPDX-License-Identifier: Apache-2.0
"""Say the verdict and the alerts of a run in sentences, and in exit codes."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from typing import NamedTuple

from otel_memory.cli.tables import NO_VERDICT_SENTENCE, STATE_TITLES, duration
from otel_memory.leaks import (
    GROWING,
    LEAKING,
    NOT_ENOUGH_DATA,
    STATES,
    STEADY,
    WARMING_UP,
)
from otel_memory.recording.summary import (
    ENDED_NOT,
    Alert,
    Site,
    Summary,
    Suspect,
    largest_known,
)
from otel_memory.semconv import EVENT_RECOVERED
from otel_memory.units import format_bytes, format_percentage, format_rate

EXIT_CODE = 3
"""Of `--fail-on`, where the command itself has nothing to complain of."""

_SENTENCES = {
    "warming-up": (
        "Memory grows by {rate}, and the process is too young to judge: its first two "
        "hours do not count, and a verdict takes another hour and a quarter."
    ),
    "steady": "Memory does not grow by what is worth a ticket: {rate}.",
    "growing": (
        "Memory grows by {rate}. A cache that fills, traffic or chance may be why."
    ),
    "leaking": (
        "Memory grows by {rate}, and neither warm-up nor traffic nor chance explains "
        "it."
    ),
}
_TOO_YOUNG_SENTENCE = (
    f"A process must live for 3.25 hours to be called {GROWING} or {LEAKING}."
)
_NOBODY_SENTENCE = (
    "No span bears the growth: it is born outside of spans, or not in Python's heap."
)
_UNMEASURED_SENTENCE = (
    "Which span bears the growth is unknown: live heap was not measured."
)
_HOUR = 3600.0


class SuspectLine(NamedTuple):
    """A suspect, and the line that bore most of what it holds."""

    span: str
    entry: str
    growth_bytes_per_hour: float | None
    live_bytes: int | None
    site: Site | None


def at_a_glance(summary: Summary) -> str:
    """Say how near the limit it came, and how often the processes raised an alert.

    "" where there is neither a limit nor an alert.
    """
    peak_bytes = largest_known(each.rss_peak_bytes for each in summary.processes)
    limit_bytes = largest_known(each.limit_bytes for each in summary.processes)
    raised = sum(alert.event != EVENT_RECOVERED for alert in summary.alerts)
    said = []
    if peak_bytes and (limit_bytes or raised):
        peak = "Peak" if len(summary.processes) == 1 else "Largest peak"
        said.append(f"{peak} {format_bytes(peak_bytes)}")
        if limit_bytes:
            share = format_percentage(round(peak_bytes / limit_bytes, 2))
            said[0] += f", {share} of the limit"
    if raised:
        said.append(f"{raised} alert{'' if raised == 1 else 's'}")
    return "; ".join(said)


def title(summary: Summary) -> str:
    """Name the verdict."""
    state = summary.verdict.state
    if state == NOT_ENOUGH_DATA and is_a_moment(summary):
        return "One moment, no verdict"
    return STATE_TITLES.get(state, state)


def is_a_moment(summary: Summary) -> bool:
    """Tell a profile that was asked for from a run."""
    return {process.ended for process in summary.processes} == {ENDED_NOT}


def sentences(summary: Summary) -> list[str]:
    """Say what the verdict means."""
    verdict = summary.verdict
    if verdict.growth_bytes_per_hour is None or verdict.state not in _SENTENCES:
        return [NO_VERDICT_SENTENCE]
    said = [_SENTENCES[verdict.state].format(rate=_rate(summary))]
    limit_bytes = largest_known(
        each.limit_bytes for each in summary.processes if each.pid == verdict.pid
    )
    if verdict.seconds_to_limit is not None and limit_bytes:
        said.append(
            f"At this rate it reaches the limit of {format_bytes(limit_bytes)} in "
            f"about {_about(verdict.seconds_to_limit)}."
        )
    number = len(summary.processes)
    if number > 1:
        word = STATE_TITLES[verdict.state].lower()
        are = "is" if verdict.processes == 1 else "are"
        pid = "one" if verdict.pid is None else str(verdict.pid)
        said.append(
            f"{verdict.processes} of {number} processes {are} {word}; these figures "
            f"are of the worst, {pid}."
        )
    if verdict.state in (GROWING, LEAKING) and not verdict.suspects:
        measured = any(row.live_bytes is not None for row in summary.spans)
        said.append(_NOBODY_SENTENCE if measured else _UNMEASURED_SENTENCE)
    return said


def _rate(summary: Summary) -> str:
    verdict = summary.verdict
    rate = format_rate(verdict.growth_bytes_per_hour or 0.0, signed=True)
    if verdict.interval is None:
        return rate
    low, high = (format_rate(bound, signed=True) for bound in verdict.interval)
    return f"{rate} (between {low} and {high})"


def _about(seconds: float) -> str:
    """Write a time to come, which nobody knows to the minute."""
    if seconds < 2 * _HOUR:
        return duration(seconds)
    days = seconds / (24 * _HOUR)
    return f"{days:,.0f} days" if days >= 2 else f"{seconds / _HOUR:.0f} hours"


def suspects_title(summary: Summary) -> str:
    """Say what suspects are, for they are named before there is a verdict."""
    if summary.verdict.state in (GROWING, LEAKING):
        return "Suspects, by the growth of what they hold"
    return "Growing so far, which is no verdict"


def suspect_lines(summary: Summary) -> list[SuspectLine]:
    """Put each suspect together with its site.

    Those who merely hold most are none to point at: the tables rank them. Nor is
    anybody where memory does not grow.
    """
    if summary.verdict.state == STEADY:
        return []
    return [
        SuspectLine(
            each.span,
            each.entry,
            each.growth_bytes_per_hour,
            each.live_bytes,
            _largest_site(summary, each),
        )
        for each in summary.verdict.suspects
        if each.growth_bytes_per_hour is not None
    ]


def _largest_site(summary: Summary, suspect: Suspect) -> Site | None:
    # Sorted by live bytes already; a line of code says more than that there is none.
    sites = [
        site
        for site in summary.sites
        if (site.span, site.entry) == (suspect.span, suspect.entry)
    ]
    return next((site for site in sites if site.line is not None), None)


def when(alert: Alert, start_seconds: float | None) -> float | None:
    """Tell how long after the run's start an alert came; None if that is unknown."""
    if alert.time_seconds is None or start_seconds is None:
        return None
    return max(alert.time_seconds - start_seconds, 0.0)


def add_fail_on(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Describe `--fail-on`.

    Args:
        parser: Takes the argument.
        otherwise: What the exit code is without it.
    """
    parser.add_argument(
        "--fail-on",
        choices=(GROWING, LEAKING),
        metavar="{growing,leaking}",
        help=f"exit with {EXIT_CODE} if memory is {GROWING} or {LEAKING}, or only if "
        f"it is {LEAKING}; {otherwise} otherwise. A process must live for 3.25 hours "
        f"to be called {GROWING} or {LEAKING}, and for 25 to be called {LEAKING} if "
        "its spans are not counted",
    )


def judged_exit_code(
    name: str, exit_code: int, summary: Summary, fail_on: str | None
) -> int:
    """Choose the exit code, and say on standard error why.

    Args:
        name: The subcommand.
        exit_code: What it would be; what is not 0 stays.
        summary: Of the run.
        fail_on: From which state on it is a failure.
    """
    if fail_on is None:
        return exit_code
    state = summary.verdict.state
    if state in (NOT_ENOUGH_DATA, WARMING_UP):
        _say(name, f"--fail-on {fail_on}: too early to tell")
        _say(name, _TOO_YOUNG_SENTENCE)
    elif STATES.index(state) >= STATES.index(fail_on):
        _say(name, f"--fail-on {fail_on}: memory is {state}")
        return exit_code or EXIT_CODE
    return exit_code


def _say(name: str, text: str) -> None:
    with suppress(BrokenPipeError):  # Nobody reads it; the exit code stays.
        print(f"otel-memory: {name}: {text}", file=sys.stderr)
