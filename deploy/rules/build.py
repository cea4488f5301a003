# SPDX-License-Identifier: Apache-2.0
"""Write the rule files, or compare what is committed: `build.py [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from deploy.rules import outputs  # noqa: E402 - only now the root is on the path

OUTPUTS = {
    ROOT / "deploy/prometheus/otel-memory.rules.yml": outputs.prometheus,
    ROOT / "deploy/grafana/provisioning/alerting/otel-memory.yaml": outputs.grafana,
}


def main(arguments: list[str] | None = None) -> int:
    """Write all files, or name those that differ and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    status = 0
    for path, make in OUTPUTS.items():
        text = make()
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not what {__file__} makes\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
