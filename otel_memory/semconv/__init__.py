# SPDX-License-Identifier: Apache-2.0
"""Every metric, attribute and event name of otel-memory, as one table.

Code, README, dashboards and tests read names, kinds, units and descriptions here
and nowhere else. Nothing is imported from OpenTelemetry, so that the table is
usable where no SDK is installed.
"""

# ruff: noqa: F403 - the rooms of one table, which nobody needs to tell apart
from otel_memory.semconv._events import *
from otel_memory.semconv._metrics import *
from otel_memory.semconv._names import *
from otel_memory.semconv._prometheus import *
from otel_memory.semconv._spans import *
