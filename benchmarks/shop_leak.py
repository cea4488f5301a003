# SPDX-License-Identifier: Apache-2.0
"""How often the first site of the shop's report is the line of its leak.

Runs `examples/shop` under `otel-memory run` with another mix of requests each time,
and looks at the first row of `sites` in `report --json`:

    python benchmarks/shop_leak.py --runs 20

Needs what `examples/shop/requirements.txt` names. Exit code 1 when a run had another
line first.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHOP = Path(__file__).resolve().parents[1] / "examples" / "shop"
LEAK_FILE = SHOP / "shop" / "cache.py"
LEAK_COMMENT = "# the leak"


def leak_line() -> int:
    """Return the number of the line that the shop says is its leak."""
    lines = LEAK_FILE.read_text("utf-8").splitlines()
    (found,) = [n for n, line in enumerate(lines, 1) if LEAK_COMMENT in line]
    return found


def command() -> str:
    """Return the `otel-memory` of this environment."""
    found = shutil.which("otel-memory", path=str(Path(sys.executable).parent))
    if found is None:
        sys.exit("otel-memory is not installed in this environment, with its cli")
    return found


def report_of(run: list[str], arguments: list[str], folder: Path) -> Any:
    """Run the shop once and return what `report --json` says."""
    recording = folder / "recording.jsonl"
    recording.unlink(missing_ok=True)
    shop = [sys.executable, str(SHOP / "main.py"), *arguments]
    done = subprocess.run(
        [*run, "run", "--record", str(recording), "--", *shop],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"the shop ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    shown = subprocess.run(
        [*run, "report", str(recording), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(shown.stdout)


def main() -> int:
    """Run it so often, print the first site of each run, and the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rate", type=float, default=0, help="requests a second")
    options = parser.parse_args()
    line, run, right = leak_line(), [command()], 0
    print(
        f"{datetime.date.today()}, {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.machine()}; "
        f"the leak is {LEAK_FILE.name}:{line}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, options.runs + 1):
            arguments = [f"--requests={options.requests}", f"--rate={options.rate:g}"]
            arguments.append(f"--seed={number}")
            first, *others = report_of(run, arguments, Path(folder))["sites"]
            is_right = first["line"] == line and Path(first["file"]).name == (
                LEAK_FILE.name
            )
            right += is_right
            second = others[0]["live_bytes"] if others else 0
            print(
                f"{number:3} {'right' if is_right else 'WRONG'}"
                f" {first['file']}:{first['line']}"
                f" {first['live_bytes'] / 2**20:.1f} MiB, {first['samples']} samples;"
                f" the next {second / 2**20:.1f} MiB",
                flush=True,
            )
    print(f"{right} of {options.runs}")
    return 0 if right == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
