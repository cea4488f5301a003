# SPDX-License-Identifier: Apache-2.0
"""What the Collector on the way says of itself, where Prometheus scrapes it.

Where nobody does there is no series, and nothing to say. The names are those of the
version in `deploy/compose.yaml`; of other versions some have `_total` at the end.
"""

from __future__ import annotations

from deploy import names

JOB = names.SETTINGS["collector"]["job"]
COUNTERS = (
    "otelcol_exporter_send_failed_metric_points",
    "otelcol_exporter_enqueue_failed_metric_points",
)
UP = "up"

_WHOSE = f'{{{names.JOB}="{JOB}"}}'
_EACH = f"by ({names.JOB}, {names.INSTANCE})"
# A counter is there from its first loss on: until then the Collector has lost nothing.
_NOTHING = f"0 * ({UP}{_WHOSE} == 1)"
_ALL_TIME = "\n    + ".join(
    f"sum {_EACH} ({counter}{_WHOSE} or {_NOTHING})" for counter in COUNTERS
)

DOWN = f"max {_EACH} (1 - {UP}{_WHOSE})"
"""1 while it does not answer, or 0."""
LOST = f"{_ALL_TIME}\n    - min_over_time(({_ALL_TIME})[15m:1m])"
"""Points of metrics in the last quarter of an hour: refused, or without room."""
