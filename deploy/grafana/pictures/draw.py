# SPDX-License-Identifier: Apache-2.0
"""Draw the committed dashboards as pictures, with components that Grafana is made of.

    draw.py --run MINUTES [--out docs/pictures]
    draw.py --url URL --minutes N [--end SECONDS] --of TEXT [--out FOLDER]

The first one runs the shop of the examples and a Prometheus, see `shop.py`; the second
one draws what a Prometheus already has. Panels are those of @grafana/ui, laid out as
the JSON has it, in a page that headless Chromium photographs: no Grafana runs, and the
pictures say so. Needs npm, Chromium and Pillow; for a run also Prometheus 3 (Debian's
takes no OTLP) and what `examples/shop/requirements.txt` has, with an exporter of OTLP.
The growth of a process is known after an hour, and the first rule fires after an hour
and a half: shorter runs leave panels empty. 90 minutes are right.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from deploy.grafana.pictures import shop  # noqa: E402
from deploy.grafana.pictures.ask import Asked, picture  # noqa: E402

DASHBOARDS = HERE.parent / "dashboards"
SOURCES = ("package.json", "package-lock.json", "tsconfig.json", "page")
VERSION = json.loads((HERE / "package.json").read_text())["dependencies"]["@grafana/ui"]
CAPTION = "Drawn with @grafana/ui {version} from {of}. Not a screenshot of Grafana."

WIDTH_PIXELS = 1600
# As in page/main.tsx.
HEAD_PIXELS = 56
FOOT_PIXELS = 36
ROW_PIXELS = 38
COLUMNS = 24
LARGEST_BYTES = 400_000
COLORS = 256
PAGE_MILLISECONDS = 20_000
PHOTOGRAPHS = 5
Panel = dict[str, Any]
THEMES = {"light": "", "dark": "-dark"}
# What a reader of that dashboard would have chosen.
CHOSEN: dict[str, dict[str, str]] = {
    "fleet": {},
    "process": {"job": "shop/web", "instance": "web-1"},
    "spans": {"job": "shop/web"},
}


def main() -> int:
    """Run the command."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="pictures-") as temporary:
        page = _built(options.work or Path(temporary, "page"))
        if options.run:
            with shop.prometheus(Path(temporary)) as url:
                start = time.time()
                with shop.shop(url, options.run):
                    time.sleep(60 * options.run)
                    asked = Asked(url, start, time.time(), {})
                    of = f"a run of examples/shop, {options.run:g} minutes"
                    _draw(page, asked, of, options.out)
        else:
            end = options.end or time.time()
            asked = Asked(options.url, end - 60 * options.minutes, end, {})
            _draw(page, asked, options.of, options.out)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=float, metavar="MINUTES", help="run the shop")
    parser.add_argument("--url", help="of a Prometheus that has the series")
    parser.add_argument("--minutes", type=float, default=60, help="that are drawn")
    parser.add_argument("--end", type=float, help="of them, Unix time; now")
    parser.add_argument("--of", help="where the series come from, in words")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    parser.add_argument("--work", type=Path, help="keep npm's packages there")
    options = parser.parse_args()
    if not options.run and not (options.url and options.of):
        parser.error("--run, or --url and --of")
    return options


def _built(work: Path) -> Path:
    """Bundle the page in a folder of its own; return the folder to serve."""
    work.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
        if copy is shutil.copytree:
            shutil.rmtree(work / name, ignore_errors=True)
        copy(HERE / name, work / name)
    modules = work / "node_modules"
    installed = modules / ".package-lock.json"
    if not installed.is_file():
        _npm(work, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    _npm(work, "run", "--silent", "check")
    _npm(work, "run", "--silent", "build")
    build = work / "build"
    shutil.copy(work / "page/index.html", build)
    public = build / "public"
    shutil.rmtree(public, ignore_errors=True)
    # Where icons and fonts are looked for, in Grafana.
    icons = "img/icons"
    of_package = modules / "@grafana/ui/dist/public" / icons
    shutil.copytree(of_package, public / "build" / icons)
    fonts = public / "fonts/inter"
    fonts.mkdir(parents=True)
    for weight in ("Regular", "Medium"):
        shutil.copy(modules / f"inter-ui/web/Inter-{weight}.woff2", fonts)
    return build


def _npm(folder: Path, *arguments: str) -> None:
    subprocess.run(["npm", *arguments], cwd=folder, check=True)


def _draw(page: Path, asked: Asked, of: str, out: Path) -> None:
    caption = CAPTION.format(version=VERSION, of=of)
    out.mkdir(parents=True, exist_ok=True)
    panels = {}
    # All is asked before a browser takes its time, and the processor.
    for name, chosen in CHOSEN.items():
        dashboard = json.loads((DASHBOARDS / f"{name}.json").read_text())
        found = picture(dashboard, replace(asked, chosen=chosen), caption)
        (page / f"{name}.json").write_text(json.dumps(found))
        panels[name] = dashboard["panels"]
    with _served(page) as address:
        for name, drawn in panels.items():
            for theme, suffix in THEMES.items():
                file = out / f"{name}{suffix}.png"
                url = f"{address}/index.html?name={name}&theme={theme}"
                _photograph(url, drawn, file)
                _make_small(file)
                sys.stdout.write(f"{file}: {file.stat().st_size} bytes\n")


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer((shop.HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{shop.HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _photograph(url: str, panels: Sequence[Panel], file: Path) -> None:
    """Photograph until nothing is blank: a busy machine is late with canvases."""
    for _ in range(PHOTOGRAPHS):
        _photograph_once(url, panels, file)
        blank = _blank(file, panels)
        if not blank:
            return
    raise RuntimeError(f"{file}: nothing was drawn in {', '.join(blank)}")


def _photograph_once(url: str, panels: Sequence[Panel], file: Path) -> None:
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    height = HEAD_PIXELS + ROW_PIXELS * rows + FOOT_PIXELS
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        command = [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH_PIXELS},{height}",
            f"--virtual-time-budget={PAGE_MILLISECONDS}",
            f"--screenshot={file.resolve()}",
            url,
        ]
        subprocess.run(command, check=True, capture_output=True)


def _blank(file: Path, panels: Sequence[Panel]) -> list[str]:
    """Give the titles of panels of one colour between their title and their middle."""
    with Image.open(file) as image:
        whole = image.convert("RGB")
    return [
        panel["title"]
        for panel in panels
        if panel["type"] != "row" and whole.crop(_figure(panel)).getcolors(1)
    ]


def _figure(panel: Panel) -> tuple[int, int, int, int]:
    """Tell where figures must be: left, top, right and bottom pixel."""
    x, y, w, h = (panel["gridPos"][side] for side in "xywh")
    column = WIDTH_PIXELS / COLUMNS
    top = HEAD_PIXELS + ROW_PIXELS * y
    return (
        int(column * (x + w * 0.2)),
        top + ROW_PIXELS,
        int(column * (x + w * 0.6)),
        top + ROW_PIXELS * h * 6 // 10,
    )


def _make_small(file: Path) -> None:
    """Keep as many colours as a page of charts has, in a palette."""
    with Image.open(file) as image:
        small = image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    if file.stat().st_size > LARGEST_BYTES:
        raise RuntimeError(f"{file} has {file.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
