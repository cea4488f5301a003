# SPDX-License-Identifier: Apache-2.0
"""Names of log events and of their attributes."""

from __future__ import annotations

EVENT_HEAP_PROFILE = "otel_memory.heap.profile"
ATTR_PROFILE_FINAL = "otel_memory.profile.final"
ATTR_PROFILE_ON_DEMAND = "otel_memory.profile.on_demand"
"""True where somebody asked for the profile: the process went on after that."""
PROFILE_SCHEMA = 1
"""Version of the JSON in the body of the profile event."""
AGE_EDGES_SECONDS = (10, 60, 600, 3600)
"""Where live bytes are split by age; one number more than edges."""

EVENT_THRESHOLD_EXCEEDED = "otel_memory.threshold.exceeded"
EVENT_LEAK_SUSPECTED = "otel_memory.leak.suspected"
EVENT_RECOVERED = "otel_memory.recovered"

ATTR_ALERT_KIND = "otel_memory.alert.kind"
ATTR_ALERT_VALUE = "otel_memory.alert.value"
"""What exceeded the threshold: bytes, or bytes per hour for `growth` and `leak`."""
ATTR_ALERT_THRESHOLD = "otel_memory.alert.threshold"
ATTR_ALERT_LIMIT = "otel_memory.alert.limit"
ATTR_ALERT_GROWTH = "otel_memory.alert.growth"
"""Bytes per hour, by the last verdict."""
ATTR_ALERT_LEAK_STATE = "otel_memory.alert.leak.state"
ATTR_ALERT_SUSPECTS = "otel_memory.alert.suspects"
"""Texts: who bears what grows, as `get_product_list (GET /recommend) +30.1 MiB/h`."""
ATTR_ALERT_TOP_SITES = "otel_memory.alert.top_sites"
"""Texts: the lines that bore most of what is live, the suspects' own where there are
suspects, as `shop/cache.py:60 get_product_list 86.5 MiB`."""

ALERT_WARNING = "warning"
ALERT_CRITICAL = "critical"
ALERT_GROWTH = "growth"
ALERT_LEAK = "leak"
ALERT_KINDS = (ALERT_WARNING, ALERT_CRITICAL, ALERT_GROWTH, ALERT_LEAK)
