# SPDX-License-Identifier: Apache-2.0
"""The committed pictures, and what draws them: neither npm nor a browser is needed."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import names
from deploy.grafana.pictures import ask, shop

from . import synthetic
from .dashboards import DASHBOARDS
from .test_panels import Prometheus

SOURCES = Path(ask.__file__).parent
PICTURES = SOURCES.parents[2] / "docs/pictures"
THEMES = ("", "-dark")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_picture_holds_the_whole_dashboard_and_loads_quickly(name, theme):
    data = (PICTURES / f"{name}{theme}.png").read_bytes()
    places = [panel["gridPos"] for panel in DASHBOARDS[name]["panels"]]
    rows = max(place["y"] + place["h"] for place in places)
    # The sizes of a PNG come after its signature and the name of the first chunk.
    assert struct.unpack(">II", data[16:24]) == (1600, 56 + 36 + 38 * rows)
    assert len(data) <= 400_000


def test_there_are_no_other_pictures():
    expected = {f"{name}{theme}.png" for name in DASHBOARDS for theme in THEMES}
    assert {path.name for path in PICTURES.iterdir()} == expected


def test_the_page_draws_every_kind_of_panel():
    source = (SOURCES / "page/panels.tsx").read_text()
    kinds = re.search(r"const KINDS.*?= \{(.*?)\};", source, re.DOTALL)
    assert kinds
    used = {panel["type"] for each in DASHBOARDS.values() for panel in each["panels"]}
    known = re.findall(r'^\s*"?([\w-]+)"?:', kinds[1], re.MULTILINE)
    assert used == {"row", *known}


def test_packages_are_pinned_and_name_no_registry():
    package = json.loads((SOURCES / "package.json").read_text())
    locked = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    for name, version in (package["dependencies"] | package["devDependencies"]).items():
        assert locked[f"node_modules/{name}"]["version"] == version
    del locked[""]
    for name, each in locked.items():
        assert "resolved" not in each, name
        assert each.get("integrity") or each.get("inBundle"), name


def test_the_shop_gets_all_that_its_example_asks():
    assert sum(int(line.split()[0]) for line in shop.whole_mix()) == 100


# --- What the page is given --------------------------------------------------


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Prometheus(tmp_path_factory.mktemp("prometheus"))
    yield f"http://{server.address}"
    server.stop()


def picture(url, name, **chosen):
    end = synthetic.END_SECONDS
    return ask.picture(DASHBOARDS[name], ask.Asked(url, end - 3590, end, chosen), "")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_has_an_answer(url, name):
    drawn = picture(url, name)
    assert drawn["range"]["to"] - drawn["range"]["from"] == 3600
    for panel in drawn["panels"]:
        for target in panel["targets"] if panel["type"] != "row" else ():
            series = drawn["answers"][panel["id"]][target["refId"]]["series"]
            assert series, target["expr"]
            points = 1 if target["instant"] else 61
            assert all(0 < len(each["values"]) <= points for each in series)


def test_only_what_was_chosen_is_drawn_and_named(url):
    drawn = picture(url, "process", job=synthetic.JOB, instance=synthetic.SICK)
    chosen = {each["label"]: each["value"] for each in drawn["chosen"]}
    assert chosen == {"Job": synthetic.JOB, "Instance": synthetic.SICK}
    found = [
        each["labels"].get(names.INSTANCE, synthetic.SICK)
        for answers in drawn["answers"].values()
        for answer in answers.values()
        for each in answer["series"]
    ]
    assert set(found) == {synthetic.SICK}


def test_an_alert_is_marked_from_its_first_to_its_last_sample(url):
    color = "red"
    marks = [mark for mark in picture(url, "fleet")["marks"] if mark["color"] == color]
    fired_seconds = 60 * (synthetic.MINUTES - synthetic.FIRES_FROM_MINUTE)
    end = synthetic.END_SECONDS
    assert marks == [{"color": color, "from": end - fired_seconds, "to": end}]
