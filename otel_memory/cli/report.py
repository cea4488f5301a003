# SPDX-License-Identifier: Apache-2.0
"""`otel-memory report`: what a recording says."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from otel_memory.cli.console import open_console, require
from otel_memory.cli.outputs import HTML, OTLP_PROFILES, PPROF, Outputs
from otel_memory.cli.printing import print_summary
from otel_memory.cli.verdict import add_fail_on, judged_exit_code
from otel_memory.recording.details import read_details
from otel_memory.recording.fold import summarise
from otel_memory.recording.summary import Summary


class ReportCommand:
    """Say what a recording of `otel-memory run` holds.

    otel-memory report run.jsonl
    otel-memory report run.jsonl --html report.html
    otel-memory report run.jsonl --fail-on leaking
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.add_argument("recording", type=Path, help="what `run --record` wrote")
        parser.add_argument(
            "--json", action="store_true", help="print the figures as JSON instead"
        )
        parser.add_argument(
            "--html",
            type=Path,
            metavar="FILE",
            help="write a page with charts, tables and a flame graph",
        )
        parser.add_argument(
            "--pprof",
            type=Path,
            metavar="FILE",
            help="write the live heap for pprof, as heap.pb.gz",
        )
        parser.add_argument(
            "--otlp-profiles",
            type=Path,
            metavar="FILE",
            help="write the live heap as OTLP profiles: JSON, or protobuf if FILE ends "
            "in .pb (experimental: the format still changes)",
        )
        add_fail_on(parser, "0")
        parser.add_argument(
            "--force", action="store_true", help="overwrite files that exist"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Print the summary, or write the files that were asked for."""
        wanted = {
            HTML: arguments.html,
            PPROF: arguments.pprof,
            OTLP_PROFILES: arguments.otlp_profiles,
        }
        if any(wanted.values()):
            # First, for a broken recording must not cost a file that it would replace.
            details = read_details(arguments.recording)
            with ExitStack() as stack:
                outputs = Outputs(
                    stack,
                    wanted,
                    recording=arguments.recording,
                    force=arguments.force,
                )
                lines = outputs.write(details)
            said = sys.stderr if arguments.json else sys.stdout
            print(*lines, sep="\n", file=said)
            summary = details.summary
            if arguments.json:
                _print_json(summary)
        else:
            summary = self._show(arguments)
        return judged_exit_code("report", 0, summary, arguments.fail_on)

    def _show(self, arguments: argparse.Namespace) -> Summary:
        if not arguments.json:
            require("rich")
        summary = summarise(arguments.recording)
        if arguments.json:
            _print_json(summary)
        else:
            print_summary(open_console(), summary)
        return summary


def _print_json(summary: Summary) -> None:
    json.dump(summary.to_dict(), sys.stdout, indent=2)
    print()
    for note in summary.notes:
        print(f"otel-memory: report: note: {note}", file=sys.stderr)
