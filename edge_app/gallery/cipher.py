"""Encrypt and decrypt the file of a gallery: AES-256-GCM with a key that scrypt derives from the user's key.

Not here: what is encrypted (file.py).
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from edge_app.errors import ConfigError
from edge_app.options.extras import install

_SALT, _NONCE, _TAG = 16, 12, 16  # bytes
OVERHEAD = _SALT + _NONCE + _TAG
_MIN_KEY = 12  # characters
# 16 MiB and 50 ms on a laptop, which a camera has too. RFC 7914; n, r and p cannot change without a new format.
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 32}


class WrongKey(ValueError):
    """The key is not the one that the data was encrypted with, or the data is damaged: both look alike."""


def encrypt(data: bytes, key: str, context: bytes) -> bytes:
    """Encrypt with a fresh salt and nonce. context: authenticated too. Raises ConfigError."""
    if len(key) < _MIN_KEY:
        raise ConfigError(f"gallery: found a key of {len(key)} characters; expected at least {_MIN_KEY}")
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    sealed: bytes = _cipher(key, salt).encrypt(nonce, data, context)
    return salt + nonce + sealed


def decrypt(data: bytes, key: str, context: bytes) -> bytes:
    """Decrypt what `encrypt` returned. Raises WrongKey; ConfigError without the library."""
    salt, nonce, sealed = data[:_SALT], data[_SALT : _SALT + _NONCE], data[_SALT + _NONCE :]
    if len(sealed) < _TAG:
        raise WrongKey("it is too short")
    cipher = _cipher(key, salt)
    from cryptography.exceptions import InvalidTag

    try:
        opened: bytes = cipher.decrypt(nonce, sealed, context)
    except InvalidTag as exc:
        raise WrongKey("found another key, or a damaged file") from exc
    return opened


def _cipher(key: str, salt: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as exc:
        raise ConfigError(f"gallery: a key needs the library cryptography; expected: {install('gallery')}") from exc
    return AESGCM(hashlib.scrypt(key.encode(), salt=salt, **_SCRYPT))
