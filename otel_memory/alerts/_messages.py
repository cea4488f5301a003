# SPDX-License-Identifier: Apache-2.0
"""Say in sentences what an alert is about, for somebody who was woken by it."""

from __future__ import annotations

from otel_memory import semconv
from otel_memory.alerts._alarms import Change
from otel_memory.alerts._evidence import Evidence, describe_suspect
from otel_memory.leaks import GROWING, LEAKING, Assessment
from otel_memory.units import format_bytes, format_percentage, format_rate

_SAID_MAX = 3  # of suspects, and of lines
_VERBS = {semconv.ALERT_GROWTH: "grows", semconv.ALERT_LEAK: "leaks"}


def describe(change: Change, verdict: Assessment, evidence: Evidence) -> str:
    """Say what has happened, who bears it and where, as far as it is known."""
    what = _growth if change.kind in _VERBS else _memory
    sentences = [what(change, verdict)]
    if not change.recovered:
        if verdict.seconds_to_limit is not None:
            hours = verdict.seconds_to_limit / 3600
            sentences[0] += f"; {hours:.1f} h to the limit"
        sentences += _causes(evidence)
    return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def _memory(change: Change, verdict: Assessment) -> str:
    size = format_bytes(change.value)
    threshold = change.threshold or 0.0
    if change.limit_bytes:
        # Whole per cent: what is measured needs no more.
        share = format_percentage(round(change.value / change.limit_bytes, 2))
        size += f", {share} of the limit of {format_bytes(change.limit_bytes)}"
        rule = format_percentage(threshold / change.limit_bytes)
    else:
        rule = format_bytes(threshold)
    if change.recovered:
        return f"memory is {size}: well below {change.kind} at {rule} again"
    growth = verdict.growth_bytes_per_hour
    if growth is None or verdict.state not in (GROWING, LEAKING):
        return f"memory is {size} ({change.kind} at {rule})"
    rate = format_rate(growth, signed=True)
    return f"memory is {size} ({change.kind} at {rule}); {verdict.state} {rate}"


def _growth(change: Change, verdict: Assessment) -> str:
    rate = format_rate(change.value, signed=True)
    verb = _VERBS[change.kind]
    if change.recovered:
        return f"memory no longer {verb}: {rate}"
    if change.threshold is not None:
        return f"memory {verb} {rate} (warning at {format_rate(change.threshold)})"
    if verdict.interval is None:
        return f"memory {verb} {rate}"
    low, high = map(format_rate, verdict.interval)
    return f"memory {verb} {rate} (between {low} and {high})"


def _causes(evidence: Evidence) -> list[str]:
    sites = "; ".join(evidence.top_sites[:_SAID_MAX])
    if not evidence.suspects:
        return [f"No span is known to grow; largest live: {sites}"] if sites else []
    said = [
        describe_suspect(suspect) + (f" at {place}" if place else "")
        for suspect, place in zip(evidence.suspects, evidence.places, strict=True)
    ]
    suspects = f"Suspects: {'; '.join(said[:_SAID_MAX])}"
    return [suspects, f"Most of theirs: {sites}"] if sites else [suspects]
