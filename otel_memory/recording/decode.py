# SPDX-License-Identifier: Apache-2.0
"""Turn the body of an OTLP/HTTP request into OTLP JSON, within bounds.

Any body, however malformed, either decodes or raises `BadRequestError`.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from otel_memory.recording.otlp import Json

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
CONTENT_TYPES = (PROTOBUF, JSON)

_REQUESTS: dict[str, type[Message]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_ID_KEYS = frozenset({"traceId", "spanId", "parentSpanId"})
# 32 + 15: gzip or zlib, told apart by the header. "deflate" is zlib in HTTP.
_WINDOW_BITS = 47


class BadRequestError(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Undo a content encoding, never holding more than the limit.

    Raises:
        BadRequestError: Unknown encoding, broken or cut data, or more than the limit.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise BadRequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content encoding is not gzip or deflate"
        )
    decompressor = zlib.decompressobj(_WINDOW_BITS)
    try:
        plain = decompressor.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "broken compression") from None
    if len(plain) > limit_bytes:
        raise BadRequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large once decompressed"
        )
    if not decompressor.eof:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "compressed data is cut short")
    return plain


def decode(signal: str, body: bytes, content_type: str) -> Json:
    """Decode a request of `signal` ("traces", "metrics" or "logs").

    Returns:
        The request as the Collector's file exporter would write it.

    Raises:
        BadRequestError: The body is not such a request.
    """
    request = _REQUESTS[signal]()
    try:
        if content_type == JSON:
            _parse_json(body, request)
        else:
            request.ParseFromString(body)
        line = json_format.MessageToDict(request, use_integers_for_enums=True)
        decoded: Json = _map_ids(line, _base64_to_hex)
    except (
        DecodeError,
        json_format.Error,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        # The JSON parser of protobuf raises what it happens to stumble over.
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "not an OTLP request") from None
    return decoded


def _parse_json(body: bytes, request: Message) -> None:
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    json_format.ParseDict(
        _map_ids(document, _hex_to_base64), request, ignore_unknown_fields=True
    )


def _base64_to_hex(text: str) -> str:
    return base64.b64decode(text).hex()


def _hex_to_base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def _map_ids(node: Any, convert: Callable[[str], str]) -> Any:
    """Convert ids, which OTLP JSON writes in hexadecimal and protobuf in base64.

    Attributes are lists of key and value, so a user's key cannot be mistaken.
    """
    if isinstance(node, dict):
        return {
            key: convert(value)
            if key in _ID_KEYS and isinstance(value, str)
            else _map_ids(value, convert)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_map_ids(element, convert) for element in node]
    return node
