# SPDX-License-Identifier: Apache-2.0
"""Children that are forked in a span count from zero, and none of them hangs.

Meanwhile threads allocate without the GIL, whose samples have a lock of their own.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
import warnings

sys.path.insert(0, sys.argv[1])

from _tools import (
    DELTA,
    MIB,
    RSS,
    assert_close,
    attributes_of,
    core_pairs,
    metric_points,
    rss_bytes,
    say,
    start,
    telemetry,
)
from native_thread import hammer, rest
from opentelemetry import context

from otel_memory.heap import _core

FORKS = 60
warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
signal.alarm(270)

tracer = start()
kept = [bytearray(30 * MIB)]


def child(inherited):
    signal.alarm(120)  # faulthandler's watchdog does not survive a fork
    telemetry.exporter.clear()
    for key, row in core_pairs().items():
        assert row.count == 0, (key, row)
        if row.sort == "span":
            assert row.allocated < MIB, (key, row)
            assert row.peak == 0, (key, row)
    with tracer.start_as_current_span("in the child"):
        kept.append(b"c" * (20 * MIB))
    found = attributes_of("in the child")
    assert_close(found[DELTA], 20 * MIB, slack=64 * 1024)
    # The parent's file in /proc would still show the parent's.
    assert_close(found[RSS], 20 * MIB, share=0.1, slack=MIB)
    assert abs(_core.rss_bytes() - rss_bytes()) < 2 * MIB
    token = context.attach(context.Context())  # what is collected is nobody's here
    ((rss, _),) = metric_points()["otel_memory.process.rss"]
    context.detach(token)
    assert abs(rss - rss_bytes()) < 4 * MIB, (rss, rss_bytes())
    rows = core_pairs()
    row = rows[("span", "in the child")]
    assert row.entry == "parent", row
    assert_close(row.live, 20 * MIB, share=0.05)
    # Blocks that the parent made are here too, and their samples with them.
    assert_close(rows[("span", "earlier")].live, 25 * MIB, share=0.05)
    # An inherited span that ends here brings what was done here.
    inherited.end()
    rows = core_pairs()
    assert rows[("span", "in the child")].count == 1, rows
    row = rows[("span", "parent")]
    assert row.count == 1, row
    assert row.allocated < MIB, row
    assert ("span", "before the fork") not in rows or (
        rows[("span", "before the fork")].count == 0
    ), rows[("span", "before the fork")]


def fork_once(span):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(span)
            code = 0
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"child {pid} ended with {status}"


with tracer.start_as_current_span("earlier"):
    earlier = bytearray(25 * MIB)
_core.set_sampling(True, rate_bytes=32 * 1024)
# Starting them here makes every second of their blocks a sample.
hammer(4, 40_000)
for _ in range(FORKS):
    with tracer.start_as_current_span("parent") as span:
        mine = bytearray(3 * MIB)
        with tracer.start_as_current_span("before the fork"):
            pass
        fork_once(span)
        del mine
say("rounds", rest(), attributes_of("parent"), _core.health())
assert core_pairs()[("span", "parent")].count == FORKS
assert ("span", "in the child") not in core_pairs()
