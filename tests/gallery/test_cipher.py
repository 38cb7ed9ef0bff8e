"""Encryption of a gallery."""

from __future__ import annotations

import sys

import pytest

from edge_app.errors import ConfigError
from edge_app.gallery import cipher

KEY = "a key of some length"


def test_decrypts_what_it_encrypted_only_in_the_same_context():
    pytest.importorskip("cryptography")
    sealed = cipher.encrypt(b"data", KEY, b"context")
    assert len(sealed) == len(b"data") + cipher.OVERHEAD
    assert cipher.decrypt(sealed, KEY, b"context") == b"data"
    with pytest.raises(cipher.WrongKey):
        cipher.decrypt(sealed, KEY, b"another")
    with pytest.raises(cipher.WrongKey):
        cipher.decrypt(sealed[:20], KEY, b"context")


def test_names_the_library_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ConfigError, match="a key needs the library cryptography; expected: "):
        cipher.encrypt(b"data", KEY, b"")
