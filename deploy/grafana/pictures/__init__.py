# SPDX-License-Identifier: Apache-2.0
"""Pictures of the dashboards: `draw.py` makes them."""
