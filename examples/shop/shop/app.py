# SPDX-License-Identifier: Apache-2.0
"""The shop's pages and its JSON endpoints."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, render_template, request

from . import db, reports
from .cache import PageCache, get_product_list

HOME_PRODUCTS = 50
RELATED_PRODUCTS = 150
RECOMMENDATIONS = 5
PAGE_CACHE_BYTES = 2 * 1024 * 1024


def create_app(database: Path) -> Flask:
    """Return the shop that sells what is in ``database``."""
    app = Flask(__name__)
    catalogue = db.load_catalogue(database)
    products_by_id = {
        product["id"]: product for listed in catalogue.values() for product in listed
    }
    pages = PageCache(PAGE_CACHE_BYTES)

    @app.get("/")
    def home() -> str:
        newest = {name: listed[-HOME_PRODUCTS:] for name, listed in catalogue.items()}
        return render_template("home.html", newest=newest)

    @app.get("/products/<int:product_id>")
    def product_page(product_id: int) -> Response:
        product = products_by_id.get(product_id) or abort(404)
        page = pages.get(product_id)
        if page is None:
            related = catalogue[product["category"]][:RELATED_PRODUCTS]
            html = render_template("product.html", product=product, related=related)
            page = html.encode()
            pages.put(product_id, page)
        return Response(page, mimetype="text/html")

    @app.get("/recommend")
    def recommend() -> list[db.Product]:
        session = request.args.get("session", "")
        category = db.CATEGORIES[zlib.crc32(session.encode()) % len(db.CATEGORIES)]
        return get_product_list(session, catalogue[category])[:RECOMMENDATIONS]

    @app.get("/search")
    def search() -> dict[str, Any]:
        return reports.search_products(database, request.args.get("q", ""))

    @app.get("/reports/sales")
    def sales() -> dict[str, int]:
        return reports.sales_by_category(database)

    return app
