# SPDX-License-Identifier: Apache-2.0
"""Recordings: received over OTLP, kept in a file, summed up.

Nothing is imported here: `exporters` runs in the instrumented process, the rest in
the command line, and neither shall pay for the other.
"""
