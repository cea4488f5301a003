# SPDX-License-Identifier: Apache-2.0
"""`otel-memory doctor`: what is installed and set, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from otel_memory.cli.checks import BAD, GOOD, NEUTRAL, check_all

_MARKS = {GOOD: "ok ", NEUTRAL: "   ", BAD: "!! "}


class DoctorCommand:
    """Say what is installed and set here, and what is wrong with it.

    Functions and alert handlers that are configured are looked for from the current
    directory, which imports their modules. The exit code is 0 when all is well and 1
    when something is wrong. Secrets in variables are not shown.
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.add_argument("--json", action="store_true", help="print JSON instead")

    def run(self, arguments: argparse.Namespace) -> int:
        """Print all findings."""
        findings = check_all(os.environ)
        problems = sum(finding.level == BAD for finding in findings)
        if arguments.json:
            listed = [asdict(finding) for finding in findings]
            document = {"schema": 1, "healthy": not problems, "findings": listed}
            print(json.dumps(document, indent=2))
        else:
            width = max(len(finding.topic) for finding in findings)
            for finding in findings:
                mark = _MARKS[finding.level]
                print(f"{mark}{finding.topic:<{width}}  {finding.text}")
            things = "1 thing is" if problems == 1 else f"{problems} things are"
            print(f"\n{things} wrong." if problems else "\nAll is well.")
        return 1 if problems else 0
