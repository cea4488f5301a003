# SPDX-License-Identifier: Apache-2.0
"""Lives in a cgroup, and does there what its standard input asks for.

One line, one answer: `read`, `touch MIB`, `file PATH MIB`, and `grow`, which has no
end but the kernel's.
"""

from __future__ import annotations

import json
import os
import sys

from otel_memory.process import open_readings

MIB = 1024 * 1024

readings = open_readings()
ballast = []


def read():
    events, pressure = readings.limit_events(), readings.pressure()
    return {
        "limit_bytes": readings.limit_bytes(),
        "limit_usage_bytes": readings.limit_usage_bytes(),
        "limit_events": events and events._asdict(),
        "pressure": pressure and pressure._asdict(),
    }


def touch(mib):
    ballast.append(b"x" * (int(mib) * MIB))


def file(path, mib):
    with open(path, "wb") as written:
        for _ in range(int(mib)):
            written.write(b"x" * MIB)
            # Version 1 does not hold back who makes pages dirty.
            os.fsync(written.fileno())
    with open(path, "rb") as again:
        while again.read(MIB):
            pass


def grow():
    # The kernel shall choose this one, and not who reads how often it has killed.
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")
    while True:
        touch(1)


for line in sys.stdin:
    work, *arguments = line.split()
    answer = {"read": read, "touch": touch, "file": file, "grow": grow}[work](
        *arguments
    )
    print(json.dumps(answer), flush=True)
