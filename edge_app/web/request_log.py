"""The log of what goes wrong in aiohttp and asyncio: a malformed request is one line, not a traceback.

Requests are untrusted input, and the error messages of aiohttp quote them. Not here: the rate limit of lines
(daemon/logs.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from edge_app.errors import foreign_exception, foreign_text

_LOG = logging.getLogger(__name__)


def request_log() -> logging.Logger:
    """The logger for aiohttp's server protocol."""
    logger = logging.getLogger("edge_app.web.http")
    logger.addFilter(_without_foreign_traceback)
    return logger


def log_loop_error(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log an exception that reached the event loop as one line: aiohttp 3.8 raises for some malformed requests."""
    exc = context.get("exception")
    _LOG.warning("%s: %s", foreign_text(context["message"]), "no exception" if exc is None else foreign_exception(exc))


def _without_foreign_traceback(record: logging.LogRecord) -> bool:
    """Shorten the record of a malformed request; drop that of a client that has disconnected."""
    from aiohttp.http_exceptions import HttpProcessingError
    from aiohttp.web import RequestPayloadError

    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ConnectionError):
        return False
    if isinstance(error, (HttpProcessingError, RequestPayloadError)):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = "malformed request (%s)", (foreign_text(error),), None
    return True
