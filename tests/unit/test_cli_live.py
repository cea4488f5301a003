# SPDX-License-Identifier: Apache-2.0
"""The live table's title says what matters, in as much room as there is."""

from __future__ import annotations

import pytest

from otel_memory.cli.live import _lines
from otel_memory.recording.summary import Process, Summary, Verdict

MIB = 1024**2


def process(rss_mib, ended="unreported", limit_mib=512):
    rss_bytes = round(rss_mib * MIB)
    limit_bytes = limit_mib and limit_mib * MIB
    return Process(
        1, "native", False, 0, rss_bytes, rss_bytes, limit_bytes, ended=ended
    )


def title(width, *processes, verdict=None):
    summary = Summary(("python",), None, processes, (), (), (), verdict or Verdict())
    return _lines(summary, width, 732.0)[0]


GROWING = Verdict("growing", 35 * MIB, (1.0, 2.0))


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            119,
            "otel-memory  12 min 12 s  1 process  RSS 412.3 MiB of 512.0 MiB  "
            "+35.0 MiB/h  growing",
        ),
        (
            79,
            "12 min 12 s  1 process  RSS 412.3 MiB of 512.0 MiB  +35.0 MiB/h  growing",
        ),
        (69, "12 min 12 s  RSS 412.3 MiB of 512.0 MiB  +35.0 MiB/h  growing"),
        (59, "RSS 412.3 MiB of 512.0 MiB  +35.0 MiB/h  growing"),
        (49, "RSS 412.3 MiB  +35.0 MiB/h  growing"),
    ],
)
def test_the_verdict_is_the_last_to_make_room(width, expected):
    found = title(width, process(412.3), verdict=GROWING)
    assert len(found) == width
    assert found.strip("─ ") == expected


def test_without_a_limit_and_a_verdict_it_says_so():
    found = title(119, process(412.3, limit_mib=None))
    assert found.strip("─ ").endswith("1 process  RSS 412.3 MiB  too early to tell")


def test_what_has_ended_holds_nothing():
    found = title(119, process(100), process(300, ended="clean"), process(50))
    assert "3 processes  RSS 150.0 MiB of 512.0 MiB" in found
