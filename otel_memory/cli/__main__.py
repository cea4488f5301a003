# SPDX-License-Identifier: Apache-2.0
"""So that `python -m otel_memory.cli` does what `otel-memory` does."""

import sys

from otel_memory.cli import main

sys.exit(main())
