# SPDX-License-Identifier: Apache-2.0
"""Local variables that outlive the span they were made in are nobody's leak.

A function builds 5 MB of rows inside a span and returns after it: each such span gains
5 MB, its parent loses them, for ever. Whoever summed up deltas would find a leak.
"""

from __future__ import annotations

from _hours import LEAK_SUSPECTED, Hours
from _tools import DELTA, assert_close, run_case, say

ROWS_BYTES = 5 * 1024 * 1024
KEPT_BYTES = 128 * 1024
REPORTS_A_MINUTE = 3


def build_report(tracer):
    with tracer.start_as_current_span("load_rows") as span:
        rows = bytearray(ROWS_BYTES)
    return span.attributes[DELTA], len(rows)


def live_bytes(hours, name):
    return sum(
        pair.live_bytes for pair in hours.watcher._source.pairs() if pair.name == name
    )


def case_alone():
    hours = Hours(growth_warning_bytes_per_hour="1MiB/h")
    while hours.hours < 5:
        for _ in range(REPORTS_A_MINUTE):
            with hours.tracer.start_as_current_span("GET /report") as entry:
                delta_bytes, _ = build_report(hours.tracer)
            assert_close(delta_bytes, ROWS_BYTES)
            assert abs(entry.attributes[DELTA]) < ROWS_BYTES / 50
        hours.pass_minute()
        # Python 3.10 keeps frames that the span bore, and a sample of one weighs more.
        assert live_bytes(hours, "load_rows") < ROWS_BYTES / 2
    say(hours.findings.assessment)
    assert hours.findings.assessment.state == "steady"
    # The watcher's own history grows a little, here as (no span)'s.
    suspects = hours.watcher._history.suspects()
    assert [each for each in suspects if each.growth_bytes >= ROWS_BYTES] == []
    assert hours.events() == []


def case_beside_a_leak():
    hours = Hours()
    kept = []
    while not hours.events() and hours.hours < 5:
        for _ in range(REPORTS_A_MINUTE):
            with hours.tracer.start_as_current_span("GET /report"):
                build_report(hours.tracer)
            with (
                hours.tracer.start_as_current_span("GET /keep"),
                hours.tracer.start_as_current_span("keep"),
            ):
                kept.append(bytearray(b"x") * KEPT_BYTES)
        hours.pass_minute()
    ((name, attributes),) = hours.events()
    say(hours.hours, attributes)
    assert name == LEAK_SUSPECTED
    suspect, *_ = attributes["otel_memory.alert.suspects"]
    assert suspect.startswith("keep (GET /keep) +"), suspect
    assert len(attributes["otel_memory.alert.top_sites"]) == 1
    assert "load_rows" not in str(attributes)


if __name__ == "__main__":
    run_case()
