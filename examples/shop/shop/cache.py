# SPDX-License-Identifier: Apache-2.0
"""The shop's two caches: one that is bounded, and one that is not."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence

from opentelemetry import trace

from .db import Product

tracer = trace.get_tracer(__name__)


class PageCache:
    """Rendered pages; the least recently used go when ``limit_bytes`` is passed."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, product_id: int) -> bytes | None:
        """Return the page, if it is here, and make it the most recently used."""
        with self._lock:
            if product_id in self._pages:
                self._pages.move_to_end(product_id)
            return self._pages.get(product_id)

    def put(self, product_id: int, page: bytes) -> None:
        """Keep the page, and let the oldest go until all fit."""
        with self._lock:
            self._size_bytes += len(page) - len(self._pages.pop(product_id, b""))
            self._pages[product_id] = page
            while self._size_bytes > self._limit_bytes:
                _, oldest = self._pages.popitem(last=False)
                self._size_bytes -= len(oldest)


_lists_by_session: dict[str, list[Product]] = {}


def get_product_list(session: str, products: Sequence[Product]) -> list[Product]:
    """Return the products in the order this customer may like them."""
    with tracer.start_as_current_span("get_product_list") as span:
        cached = _lists_by_session.get(session)
        span.set_attribute("shop.cache_hit", cached is not None)
        if cached is not None:
            return cached

        def taste(product: Product) -> int:
            return zlib.crc32(f"{session}/{product['id']}".encode())

        ranked = sorted(products, key=taste)
        # Copies, for what a page adds to them is this customer's own.
        _lists_by_session[session] = list(map(dict, ranked))  # the leak: see README.md
        return _lists_by_session[session]
