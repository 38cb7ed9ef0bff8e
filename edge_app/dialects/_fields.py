"""Fields of published messages that several dialects need."""

from __future__ import annotations

import json

from edge_app.frame import JsonValue
from edge_app.messages import utc_of


def encoded(body: JsonValue) -> bytes:
    """JSON as in the published messages: compact, UTF-8."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def unix_s(utc: str) -> float:
    """Seconds since 1970 of a published time. Raises ValueError if the text is not one."""
    return utc_of(utc) / 1e9
