"""TLS contexts and certificates; the errors of connections in plain words."""

from __future__ import annotations

import socket
import ssl
from datetime import datetime, timezone
from pathlib import Path

from edge_app.clock import Clock
from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import MAX_TEXT, read_regular

# X509_V_ERR_…, <openssl/x509_vfy.h>
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_HOST = (62, 64)


def client_context(
    ca: Path | None, cert: Path | None = None, key: Path | None = None, *, verify: bool = True
) -> ssl.SSLContext:
    """A client's context. ca: trusted authorities; None: the system's. cert, key: our own. Raises ConfigError.

    verify: false accepts any server, so the connection is encrypted but may end at an attacker.
    """
    if (cert is None) != (key is None):
        raise ConfigError("found only one of cert and key; expected both or neither")
    for path in (ca, cert, key):  # OpenSSL waits for the writer of a named pipe
        try:
            if path is not None:
                read_regular(path, MAX_TEXT)
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}; expected a file in PEM") from exc
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as exc:  # includes SSLError
        raise ConfigError(f"{ca}: {_reason(exc)}; expected certificates in PEM") from exc
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None and key is not None:
        try:
            context.load_cert_chain(cert, key, password="")
        except OSError as exc:
            mismatch = isinstance(exc, ssl.SSLError) and exc.reason == "KEY_VALUES_MISMATCH"
            reason = f"does not belong to {key}" if mismatch else f"{_reason(exc)}; expected PEM without a password"
            raise ConfigError(f"{cert}: {reason}") from exc
    return context


def explain(exc: OSError, host: str, port: int, clock: Clock) -> str:
    """Why a connection failed, in one line that starts with the address."""
    return f"{host}:{port}: {why_failed(exc, clock)}"


def why_failed(exc: OSError, clock: Clock) -> str:
    """Why a connection failed."""
    if not isinstance(exc, ssl.SSLCertVerificationError):
        return _reason(exc)
    now = datetime.fromtimestamp(clock.utc_ns() / 1e9, timezone.utc)
    today = now.date().isoformat()  # the date only: an unchanged text is logged once
    if exc.verify_code == _NOT_YET_VALID and not clock.synced():
        return f"the certificate is not yet valid: the local clock is not set ({today})"
    if exc.verify_code == _NOT_YET_VALID:
        return f"the certificate is not yet valid; the local clock says {today}"
    if exc.verify_code == _EXPIRED:
        return f"the certificate has expired; the local clock says {today}"
    if exc.verify_code in _WRONG_HOST:
        return "the certificate is for another host"
    return f"the certificate is not trusted: {foreign_text(exc.verify_message)}"


def _reason(exc: OSError) -> str:
    if isinstance(exc, (TimeoutError, socket.timeout)):
        return "no answer in time"
    if isinstance(exc, ssl.SSLError):
        return f"TLS: {foreign_text(exc.reason or 'error').replace('_', ' ').lower()}"
    if isinstance(exc, ConnectionError) and not exc.strerror:
        return "the connection was closed without an answer"
    return foreign_text(exc)
