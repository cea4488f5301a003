# SPDX-License-Identifier: Apache-2.0
"""Look whether functions that settings name are there, as an application would.

Their modules are imported, in an interpreter of its own: a module may print, raise,
start threads, hang or end the process, and none of it must happen to us.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence

from otel_memory.config import FunctionTarget

_IMPORT_SECONDS_MAX = 30
# As with any `python -c`, the current directory is the first on the path. What the
# module prints goes to standard error, and whatever it has started ends with us.
_PROBE = """
import importlib, json, os, sys
from operator import attrgetter
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
module, *names = sys.argv[1:]
sys.argv[1:] = []
problems = []
for name in names:
    problem = ""
    try:
        *parents, last = name.split(".")
        path = ".".join(parents if last == "*" else [*parents, last])
        found = importlib.import_module(module)
        if path:
            found = attrgetter(path)(found)
        if last != "*" and not callable(found):
            problem = "it is no function"
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    problems.append(problem)
print(json.dumps(problems), file=answer, flush=True)
os._exit(0)
"""


def problems(
    targets: Sequence[FunctionTarget], environ: Mapping[str, str]
) -> dict[FunctionTarget, str]:
    """Say what is wrong with each function; "" where nothing is.

    Each module is imported, by an interpreter that this starts in the current
    directory. Of `module:*` only the module is looked for.
    """
    by_module = defaultdict(list)
    for target in dict.fromkeys(targets):
        by_module[target.module].append(target)
    found: dict[FunctionTarget, str] = {}
    for module, wanted in by_module.items():
        names = [target.qualname for target in wanted]
        found.update(zip(wanted, _ask(module, names, environ), strict=True))
    return found


def _ask(module: str, names: list[str], environ: Mapping[str, str]) -> list[str]:
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE, module, *names],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_IMPORT_SECONDS_MAX,
            check=False,
        )
        answer: list[str] = json.loads(probe.stdout)
    except subprocess.TimeoutExpired:
        return [f"importing {module} has not ended"] * len(names)
    except ValueError:
        return [f"importing {module} ends the process"] * len(names)
    return [" ".join(problem.split()) for problem in answer]
