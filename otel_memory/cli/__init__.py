# SPDX-License-Identifier: Apache-2.0
"""The command line: `otel-memory run`, `report`, `top` and `doctor`."""

from otel_memory.cli._main import main

__all__ = ["main"]
