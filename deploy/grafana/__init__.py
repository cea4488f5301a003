# SPDX-License-Identifier: Apache-2.0
"""Dashboards as code: `build.py` writes them to `dashboards/`."""
