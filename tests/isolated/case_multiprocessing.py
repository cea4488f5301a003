# SPDX-License-Identifier: Apache-2.0
"""multiprocessing's workers count their own, however they are started."""

from __future__ import annotations

import multiprocessing
import sys
import warnings

from _tools import DELTA, MIB, assert_close, attributes_of, core_pairs, say, start
from opentelemetry import trace

warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)


def work(number):
    tracer = trace.get_tracer("worker")
    with tracer.start_as_current_span(f"job {number}"):
        kept = bytearray(5 * MIB)
    row = core_pairs()[("span", f"job {number}")]
    assert len(kept) == 5 * MIB
    return attributes_of(f"job {number}")[DELTA], row.count, row.allocated


def main(method):
    tracer = start()
    context = multiprocessing.get_context(method)
    with tracer.start_as_current_span("pool"):
        mine = bytearray(40 * MIB)
        initializer = None if method == "fork" else start
        with context.Pool(2, initializer=initializer) as pool:
            answers = pool.map(work, range(8), chunksize=1)
            pool.close()
            pool.join()
    say(method, answers, attributes_of("pool"), len(mine))
    for delta, count, allocated in answers:
        assert_close(delta, 5 * MIB, slack=32 * 1024)
        assert count == 1
        assert_close(allocated, 5 * MIB, slack=64 * 1024)
    assert_close(attributes_of("pool")[DELTA], 40 * MIB, slack=MIB)


if __name__ == "__main__":
    main(sys.argv[1])
