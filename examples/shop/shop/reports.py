# SPDX-License-Identifier: Apache-2.0
"""What takes much memory and gives all of it back: a search and a sales report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from opentelemetry import trace

from . import db

SEARCH_RESULTS = 20

tracer = trace.get_tracer(__name__)


@tracer.start_as_current_span("search_products")
def search_products(database: Path, text: str) -> dict[str, Any]:
    """Return the best matches and how many there are of each colour.

    It churns: every match is read and marked, and all but a few are dropped.
    """
    matches = [
        {**product, "marked": product["description"].replace(text, f"*{text}*")}
        for product in db.query(
            database, "SELECT * FROM products WHERE description LIKE ?", f"%{text}%"
        )
    ]
    matches.sort(key=lambda match: (-match["marked"].count("*"), match["id"]))
    return {
        "count": len(matches),
        "colours": Counter(match["colour"] for match in matches),
        "best": matches[:SEARCH_RESULTS],
    }


def sales_by_category(database: Path) -> dict[str, int]:
    """Return the revenue of each category in cents.

    Its rows, some 6 MB, outlive the span that read them and go with the function:
    that span gains by them at every call, its parent loses as much, nothing leaks.
    """
    with tracer.start_as_current_span("load_sales"):
        rows = db.query(database, "SELECT * FROM sales")
    revenue_cents: Counter[str] = Counter()
    for row in rows:
        revenue_cents[row["category"]] += row["revenue_cents"]
    return dict(revenue_cents)
