# SPDX-License-Identifier: Apache-2.0
"""Five endpoints whose requests overlap in one event loop."""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import trace

QUOTE_SECONDS = 0.1
TILE_BYTES = 512 * 1024
TILES = 16
EXPORT_CHUNKS = 64
EXPORT_ROWS_PER_CHUNK = 1024
SESSIONS_LIMIT = 100
SESSION_BYTES = 32 * 1024
RECENT_LIMIT = 16
MESSAGE_BYTES = 256 * 1024

tracer = trace.get_tracer(__name__)


def create_app(*, leak: bool = False) -> FastAPI:
    """Return the API; with ``leak``, ``/notify`` forgets none of its messages."""
    app = FastAPI(title="async api")
    sessions: OrderedDict[int, bytearray] = OrderedDict()
    recent: deque[bytes] = deque(maxlen=None if leak else RECENT_LIMIT)

    @app.get("/quote")
    async def quote() -> dict[str, float]:
        """Wait, as for an answer from elsewhere, and hold next to nothing."""
        with tracer.start_as_current_span("ask_exchange"):
            await asyncio.sleep(QUOTE_SECONDS)
        return {"price": 12.5}

    @app.get("/thumbnail/{number}")
    async def thumbnail(number: int) -> dict[str, int]:
        """Allocate 8 MiB tile by tile, let others run in between, free it all."""
        with tracer.start_as_current_span("render_tiles"):
            tiles = []
            for tile in range(TILES):
                tiles.append(bytes([(number + tile) % 256]) * TILE_BYTES)
                await asyncio.sleep(0)
            checksum = 0
            for pixels in tiles:
                checksum = zlib.crc32(pixels, checksum)
        return {"checksum": checksum}

    @app.get("/export")
    async def export() -> StreamingResponse:
        """Stream 2 MiB of CSV, of which one chunk at a time is in memory."""

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in range(EXPORT_CHUNKS):
                first = chunk * EXPORT_ROWS_PER_CHUNK
                rows = range(first, first + EXPORT_ROWS_PER_CHUNK)
                yield "".join(f"{row},{row * row:024}\r\n" for row in rows).encode()

        return StreamingResponse(chunks(), media_type="text/csv")

    @app.get("/session/{user}")
    async def session(user: int) -> dict[str, int]:
        """Keep 32 KiB for each of the last 100 users, 3.1 MiB in all, no more."""
        if user not in sessions:
            sessions[user] = bytearray(SESSION_BYTES)
        sessions.move_to_end(user)
        if len(sessions) > SESSIONS_LIMIT:
            sessions.popitem(last=False)
        return {"sessions": len(sessions)}

    @app.get("/notify/{user}")
    async def notify(user: int) -> dict[str, int]:
        """Send a message of 256 KiB and keep the last 16, or with leak all of them."""
        with tracer.start_as_current_span("send_message"):
            recent.append(user.to_bytes(4, "big") * (MESSAGE_BYTES // 4))
            await asyncio.sleep(0)
        return {"recent": len(recent)}

    return app
