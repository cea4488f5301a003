# SPDX-License-Identifier: Apache-2.0
"""Alert rules: one table, written for Prometheus and for Grafana."""
