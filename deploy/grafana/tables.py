# SPDX-License-Identifier: Apache-2.0
"""Panels that are tables: a row for each set of labels, a column for each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus

from deploy.grafana import looks
from deploy.grafana.panels import About, Panel, Query, with_common

# Narrower than Grafana's own least, or figures are out of sight.
LABEL_PIXELS = 110


@dataclass(frozen=True)
class Label:
    """A column that shows a label.

    Attributes:
        title: What stands above it.
        label: The label.
        link: Where a click leads.
    """

    title: str
    label: str
    link: dict[str, object] | None = None


@dataclass(frozen=True)
class Figure:
    """A column that shows what a query gives.

    Attributes:
        title: What stands above it; without one the column is hidden.
        expression: PromQL, aggregated by the labels of the table.
        unit: Grafana's name of the unit.
        steps: Colours, from thresholds.
        cell: Grafana's name of the way to show it: `gauge`, `color-text`.
        mappings: Words in place of figures.
        width_pixels: Of the column; labels share what is left.
    """

    title: str
    expression: str
    unit: str = looks.COUNT
    steps: looks.Steps = ()
    cell: str = "auto"
    mappings: Sequence[models.ValueMapping] = ()
    width_pixels: int = 90


def rows(
    about: About,
    labels: Sequence[Label],
    figures: Sequence[Figure],
    *,
    sort_by: str,
    descending: bool = True,
) -> Panel:
    """Show the newest figures, a row for each combination of the labels."""
    queries = [Query(figure.expression) for figure in figures]
    about = replace(about, queries=queries)
    sorting = common_builders.TableSortByFieldState().display_name(sort_by)
    panel = (
        with_common(
            table.Panel(), about, prometheus.PromQueryFormat.TABLE, instant=True
        )
        .show_header(True)
        .filterable(True)
        .thresholds(looks.thresholds(looks.NO_STEPS))
        .sort_by([sorting.desc(descending)])
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize", options=_organized(labels, figures)
            )
        )
    )
    for label in labels:
        properties: dict[str, object] = {"custom.minWidth": LABEL_PIXELS}
        if label.link:
            properties["links"] = [label.link]
        panel.override_by_name(label.title, _properties(**properties))
    for figure in figures:
        if figure.title:
            panel.override_by_name(figure.title, _looks_of(figure))
    return panel.build()


def _organized(
    labels: Sequence[Label], figures: Sequence[Figure]
) -> dict[str, dict[str, Any]]:
    # A query that stands alone has no letter in the name of its column.
    sources = (
        [f"Value #{letter}" for letter in ascii_uppercase]
        if len(figures) > 1
        else ["Value"]
    )
    titles = {label.label: label.title for label in labels}
    titles |= {
        source: figure.title for source, figure in zip(sources, figures, strict=False)
    }
    hidden = ["Time", *(source for source, title in titles.items() if not title)]
    return {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {source: index for index, source in enumerate(titles)},
        "renameByName": {source: title for source, title in titles.items() if title},
    }


def _looks_of(figure: Figure) -> list[models.DynamicConfigValue]:
    cell = {"type": figure.cell} | ({"mode": "basic"} if figure.cell == "gauge" else {})
    properties: dict[str, object] = {
        "unit": figure.unit,
        "custom.cellOptions": cell,
        "custom.width": figure.width_pixels,
    }
    if figure.cell == "gauge":
        properties |= {"min": 0, "max": 1}
    if figure.steps:
        properties["thresholds"] = looks.thresholds(figure.steps).build()
    if figure.mappings:
        properties["mappings"] = list(figure.mappings)
    return _properties(**properties)


def _properties(**values: object) -> list[models.DynamicConfigValue]:
    return [models.DynamicConfigValue(name, value) for name, value in values.items()]
