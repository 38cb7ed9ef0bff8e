"""The login of a camera over HTTP: Basic (RFC 7617) and Digest (RFC 7616; RFC 2069 without qop).

Digest with SHA-256 is preferred, then with MD5, then Basic. Not here: sending requests.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|$)")
_ESCAPE = re.compile(r"\\(.)")
_HASHES = {"SHA-256": "sha256", "MD5": "md5"}  # the better one first


class Challenge(NamedTuple):
    """One element of WWW-Authenticate. scheme and names of parameters in lower case."""

    scheme: str
    parameters: dict[str, str]

    @property
    def algorithm(self) -> str:
        """Of Digest, in upper case, without `-SESS`."""
        return self.parameters.get("algorithm", "MD5").upper().removesuffix("-SESS")

    @property
    def strength(self) -> int:
        """0 if it is not supported."""
        if self.scheme == "basic":
            return 1
        qop = self.parameters.get("qop")
        by_auth = qop is None or "auth" in _elements(qop)
        if self.scheme != "digest" or "nonce" not in self.parameters or not by_auth or self.algorithm not in _HASHES:
            return 0
        return 1 + len(_HASHES) - list(_HASHES).index(self.algorithm)


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges of all headers WWW-Authenticate, up to the first mistake in each."""
    challenges: list[Challenge] = []
    for header in headers:
        at = 0
        current: dict[str, str] | None = None
        while True:
            if current is not None and (found := _PARAMETER.match(header, at)):
                quoted = found[2]
                value = found[3] if quoted is None else _ESCAPE.sub(r"\1", quoted)
                if value.isprintable():
                    current.setdefault(found[1].lower(), value)
            elif found := _SCHEME.match(header, at):
                current = {}
                challenges.append(Challenge(found[1].lower(), current))
            else:
                break
            at = found.end()
    return challenges


class Login:
    """Answers challenges, and later requests with the last one. new_nonce: the client's nonce of each request."""

    def __init__(self, user: str, password: str, new_nonce: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._user = user
        self._password = password
        self._new_nonce = new_nonce
        self._challenge: Challenge | None = None
        self._count = 0  # of requests with the server's nonce

    def accept(self, headers: Sequence[str]) -> bool:
        """Use the best challenge of WWW-Authenticate from now on. False if none is supported."""
        best = max(parse_challenges(headers), key=lambda challenge: challenge.strength, default=None)
        if best is None or not best.strength:
            return False
        self._challenge, self._count = best, 0
        return True

    @property
    def is_stale(self) -> bool:
        """Whether the last challenge says that only the nonce of the request was too old."""
        return self._challenge is not None and self._challenge.parameters.get("stale", "").lower() == "true"

    def authorization(self, method: str, target: str) -> str | None:
        """The header Authorization of a request; None before the first challenge."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode("ascii")
        return self._digest(self._challenge.parameters, method, target)

    def _digest(self, given: dict[str, str], method: str, target: str) -> str:
        assert self._challenge is not None
        algorithm = _HASHES[self._challenge.algorithm]

        def hashed(*parts: str) -> str:
            return hashlib.new(algorithm, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

        realm, nonce = given.get("realm", ""), given["nonce"]
        own_nonce, self._count = self._new_nonce(), self._count + 1
        count = f"{self._count:08x}"
        secret = hashed(self._user, realm, self._password)
        if given.get("algorithm", "").upper().endswith("-SESS"):
            secret = hashed(secret, nonce, own_nonce)
        with_qop = "qop" in given
        middle = (nonce, count, own_nonce, "auth") if with_qop else (nonce,)
        user_hash = given.get("userhash", "").lower() == "true"
        fields = [
            _user_field(hashed(self._user, realm) if user_hash else self._user),
            f"realm={_quoted(realm)}",
            f"nonce={_quoted(nonce)}",
            f"uri={_quoted(target)}",
            f'response="{hashed(secret, *middle, hashed(method, target))}"',
            *([f"algorithm={given['algorithm']}"] if "algorithm" in given else []),
            *([f"qop=auth, nc={count}, cnonce={_quoted(own_nonce)}"] if with_qop else []),
            *([f"opaque={_quoted(given['opaque'])}"] if "opaque" in given else []),
            *(["userhash=true"] if user_hash else []),
        ]
        return "Digest " + ", ".join(fields)


def _elements(text: str) -> list[str]:
    return [element.strip().lower() for element in text.split(",")]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _user_field(user: str) -> str:
    return f"username={_quoted(user)}" if user.isascii() else f"username*=UTF-8''{quote(user, safe='')}"
