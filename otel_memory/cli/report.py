# SPDX-License-Identifier: Apache-2.0
"""`otel-memory report`: what a recording says."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from otel_memory.cli.console import open_console, require_rich
from otel_memory.cli.tables import print_summary
from otel_memory.recording.fold import summarise


class ReportCommand:
    """Say what a recording of `otel-memory run` holds."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.add_argument("recording", type=Path, help="what `run --record` wrote")
        parser.add_argument(
            "--json", action="store_true", help="print the figures as JSON instead"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Print the summary."""
        if not arguments.json:
            require_rich()
        summary = summarise(arguments.recording)
        if arguments.json:
            json.dump(summary.to_dict(), sys.stdout, indent=2)
            print()
            for note in summary.notes:
                print(f"otel-memory: report: note: {note}", file=sys.stderr)
        else:
            print_summary(open_console(), summary)
        return 0
