# SPDX-License-Identifier: Apache-2.0
"""The shop's SQLite database: its tables, what it is seeded with, its queries."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

CATEGORIES = ("garden", "kitchen", "music", "office")
PRODUCTS_PER_CATEGORY = 1250
QUARTERS = 4

_SCHEMA = """
CREATE TABLE products (
    id INTEGER PRIMARY KEY, category TEXT, name TEXT, colour TEXT, supplier TEXT,
    description TEXT, price_cents INTEGER, weight_grams INTEGER, stock INTEGER,
    rating REAL
);
CREATE TABLE sales (
    product_id INTEGER, category TEXT, quarter INTEGER, sold INTEGER,
    revenue_cents INTEGER
);
"""
_COLOURS = ("black", "blue", "green", "oak", "red", "walnut", "white")
_TEXT = (
    "brass bright classic cotton durable folding linen modern quiet solid steel warm"
)
_WORDS = _TEXT.split()

Product = dict[str, Any]


def seed(path: Path, random_seed: int) -> None:
    """Create the database at ``path``; the same seed gives the same shop."""
    draw = random.Random(random_seed)
    products: list[tuple[object, ...]] = []
    sales: list[tuple[object, ...]] = []
    for category in CATEGORIES:
        for _ in range(PRODUCTS_PER_CATEGORY):
            product_id = len(products) + 1
            price_cents = draw.randint(199, 49_999)
            products.append(_product_row(draw, product_id, category, price_cents))
            for quarter in range(1, QUARTERS + 1):
                sold = draw.randint(0, 500)
                sales.append((product_id, category, quarter, sold, sold * price_cents))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany(f"INSERT INTO products VALUES ({'?,' * 9}?)", products)
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", sales)


def _product_row(
    draw: random.Random, product_id: int, category: str, price_cents: int
) -> tuple[object, ...]:
    return (
        product_id,
        category,
        f"{draw.choice(_WORDS)} {category} item {product_id}",
        draw.choice(_COLOURS),
        f"supplier {draw.randint(1, 80)}",
        " ".join(draw.choices(_WORDS, k=40)),
        price_cents,
        draw.randint(50, 9_000),
        draw.randint(0, 300),
        round(draw.uniform(1, 5), 1),
    )


def query(path: Path, sql: str, *parameters: object) -> list[dict[str, Any]]:
    """Run one statement on a connection of its own; return its rows as dicts."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql, parameters)]


def load_catalogue(path: Path) -> dict[str, list[Product]]:
    """Read all products, by category: some 5 MB which the shop keeps on purpose."""
    products = query(path, "SELECT * FROM products ORDER BY id")
    return {
        category: [product for product in products if product["category"] == category]
        for category in CATEGORIES
    }
