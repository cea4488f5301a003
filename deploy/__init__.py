# SPDX-License-Identifier: Apache-2.0
"""Dashboards, alert rules and configurations; sources and what they generate."""
