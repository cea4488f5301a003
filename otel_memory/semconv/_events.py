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
