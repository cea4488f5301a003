# SPDX-License-Identifier: Apache-2.0
"""Lets tests import `deploy`, which is in no wheel."""

from __future__ import annotations

import sys
from pathlib import Path

# The last one: where the package is installed, that is what is tested.
sys.path.append(str(Path(__file__).parents[2]))
