# SPDX-License-Identifier: Apache-2.0
"""The HTML report in a real browser: charts are drawn, and names run nothing."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from .cli_support import cli
from .html_support import EVIL_NAMES, Page, shown, write_recording

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=1280,2400"),
    # Standard output is the page, once its scripts have run.
    *("--virtual-time-budget=10000", "--dump-dom"),
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What the page has become in the browser."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has a Chromium: is it still installed?")
        pytest.skip("there is no chromium on this machine")
    folder = tmp_path_factory.mktemp("browser")
    html = folder / "report.html"
    cli("report", write_recording(folder / "run.jsonl"), "--html", html)
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, html.as_uri()],
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        timeout=300,
        check=True,
    )
    return Page(done.stdout.decode())


def within(page, place):
    """Give the elements that Plotly has drawn into one place."""
    start = next(
        number
        for number, (_, attributes) in enumerate(page.elements)
        if attributes.get("id") == place
    )
    later = page.elements[start + 1 :]
    end = next(number for number, (tag, _) in enumerate(later) if tag == "section")
    return later[:end]


def test_the_charts_are_drawn(opened):
    for place, drawn in (
        ("chart-process", "js-line"),
        ("chart-live", "js-fill"),
        ("chart-flame", "surface"),
    ):
        elements = within(opened, place)
        assert "svg" in {tag for tag, _ in elements}
        classes = [attributes.get("class") for _, attributes in elements]
        assert drawn in classes, place


def test_no_name_has_run_or_become_an_element(opened):
    (title,) = opened.text_of("title")[:1]
    assert title.endswith("otel-memory")
    tags = {tag for tag, _ in opened.elements}
    assert not tags & {"img", "b", "object", "iframe"}
    assert not [a for _, a in opened.elements if "onload" in a or "onerror" in a]
    assert sum(tag == "script" for tag, _ in opened.elements) == 3
    names = [row[0]["text"] for row in opened.tables["spans"][1:]]
    assert names == [shown(name) for name in EVIL_NAMES]


def test_names_are_text_in_the_charts(opened):
    legend = [
        attributes["data-unformatted"]
        for _, attributes in within(opened, "chart-live")
        if attributes.get("class") == "legendtext"
    ]
    assert len(legend) == 8
    drawn = opened.text_of("text") + opened.text_of("tspan")
    for name in EVIL_NAMES[:2]:
        cut = shown(name)[:20]
        assert any(text.startswith(cut) for text in drawn), name
    # In the legend and in the flame graph.
    assert sum(text.startswith("<b>bold") for text in drawn) >= 2
    choices = opened.text_of("option")
    assert any(text.startswith(f"{EVIL_NAMES[0]} (40.0 MiB)") for text in choices)


def test_tables_can_be_sorted_and_searched(opened):
    heading = opened.tables["spans"][0]
    assert [cell["text"] for cell in heading if "aria-sort" in cell] == ["Live"]
    searches = [a for tag, a in opened.elements if tag == "input"]
    labels = {attributes["aria-label"] for attributes in searches}
    assert labels >= {"Search in Spans", "Search in Sites"}
