# SPDX-License-Identifier: Apache-2.0
"""Write the dashboards' JSON, or say whether what is committed is up to date.

    python deploy/grafana/build.py [--check]

Needs Python 3.11 and grafana-foundation-sdk==0.0.21, exactly: without a version pip
takes an older one, whose number has an epoch before it.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "dashboards"
sys.path.insert(0, str(ROOT))
# The SDK prefers the new model, which file provisioning does not take.
warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)

from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402

from deploy.grafana import fleet, process, spans  # noqa: E402

BUILDERS = {"fleet": fleet.build, "process": process.build, "spans": spans.build}


def documents() -> dict[Path, str]:
    """Build all dashboards: the JSON by file."""
    documents = {}
    for name, build in BUILDERS.items():
        document = json.loads(JSONEncoder().encode(build()))
        _without_noise(document)
        text = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False)
        documents[FOLDER / f"{name}.json"] = text + "\n"
    return documents


def _without_noise(document: dict[str, Any]) -> None:
    """Take out what the SDK adds and nobody asked for."""
    # New servers would hide links and annotations in a menu.
    for each in (*document["links"], *document["annotations"]["list"]):
        del each["placement"]
    for variable in document["templating"]["list"]:
        for key in ("auto", "auto_count", "auto_min"):
            variable.pop(key, None)
    for panel in document["panels"]:
        panel.pop("repeatDirection", None)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 where a file is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    built = documents()
    stale = [
        path
        for path, text in built.items()
        if not path.is_file() or path.read_text() != text
    ]
    unknown = set(FOLDER.glob("*.json")) - set(built)
    for path in sorted(stale if not check else {*stale, *unknown}):
        word = "not up to date" if check else "written"
        sys.stdout.write(f"{word}: {path.relative_to(ROOT)}\n")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(built[path])
    return int(check and bool(stale or unknown))


if __name__ == "__main__":
    sys.exit(main())
