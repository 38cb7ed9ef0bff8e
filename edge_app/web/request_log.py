"""The logger that aiohttp gets: a malformed request is one line, not a traceback.

Requests are untrusted input, and the error messages of aiohttp quote them. Not here: the rate limit of lines
(daemon/logs.py).
"""

from __future__ import annotations

import logging

from edge_app.errors import foreign_text


def request_log() -> logging.Logger:
    """The logger for aiohttp's server protocol."""
    logger = logging.getLogger("edge_app.web.http")
    logger.addFilter(_without_foreign_traceback)
    return logger


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
