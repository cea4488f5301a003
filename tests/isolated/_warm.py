# SPDX-License-Identifier: Apache-2.0
"""Run cases in children of one interpreter, which has imported what they need.

As separate as processes of their own, and quicker. For scripts that do nothing when
they are imported: no thread runs, and nothing is instrumented, when a child is made.
"""

from __future__ import annotations

import json
import os
import sys

from _tools import run_case


def serve_cases():
    """Run the cases that standard input names; tell the exit code of each."""
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.update(asked["variables"])
            output = os.open(asked["output"], os.O_WRONLY)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            os.close(output)
            sys.argv[1:] = [asked["case"]]
            run_case()
            return  # to the ordinary end of an interpreter
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
