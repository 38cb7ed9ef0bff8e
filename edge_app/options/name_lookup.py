"""Find the addresses of a host within a time limit.

The C library's resolver cannot be interrupted, and takes 10 to 30 s without an answer. So it runs on a separate thread,
of which each host has at most one at a time in the process.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread
from typing import Any, NamedTuple

_KEPT = 64  # hosts whose last answer is kept: more than any configuration has
_LAST_ANSWER_SHARE = 0.5  # of the time limit; after that, the last answer is used


class Address(NamedTuple):
    """One element of the result of `socket.getaddrinfo`."""

    family: int
    type: int
    protocol: int
    canonical: str
    sockaddr: tuple[Any, ...]


Resolve = Callable[[str, int], list[Address]]


def _resolve(host: str, port: int) -> list[Address]:
    return [Address(*found) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Resolver:
    """Finds addresses. Thread-safe. resolve: may take any time. Keeps the last answer of each host."""

    def __init__(self, resolve: Resolve = _resolve) -> None:
        self._resolve = resolve
        self._changed = Condition()
        self._running: set[tuple[str, int]] = set()
        self._errors: dict[tuple[str, int], Exception] = {}  # of the last lookup that has ended
        self._answers: dict[tuple[str, int], list[Address]] = {}

    def look_up(self, host: str, port: int, timeout_s: float) -> list[Address]:
        """The addresses of a host, at least one. Raises OSError.

        Returns the last answer for this host if the resolver fails for now, or takes longer than half of `timeout_s`.
        """
        with suppress(ValueError):
            ipaddress.ip_address(host.partition("%")[0])
            return self._resolve(host, port)  # needs no name server
        key = (host, port)
        with self._changed:
            if key not in self._running:
                self._running.add(key)
                Thread(target=self._run, args=key, name="name lookup", daemon=True).start()
            known = self._answers.get(key)
            wait_s = timeout_s if known is None else timeout_s * _LAST_ANSWER_SHARE
            ended = self._changed.wait_for(lambda: key not in self._running, wait_s)
            error = self._errors.get(key) if ended else None
            answer = self._answers.get(key)
        if error is None and answer is None:
            error = socket.gaierror(socket.EAI_AGAIN, "no answer to the name lookup in time")
        temporary = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        if error is not None and not (temporary and answer is not None):
            raise error
        assert answer is not None
        return answer

    def _run(self, host: str, port: int) -> None:
        key, answer, error = (host, port), None, None
        try:
            answer = self._resolve(host, port)
        except OSError as exc:
            error = exc
        except ValueError:  # a name that cannot be encoded
            error = socket.gaierror(socket.EAI_NONAME, "not a host name")
        if error is None and not answer:
            error = socket.gaierror(socket.EAI_NONAME, "the name has no address")
        with self._changed:
            self._running.discard(key)
            self._errors.pop(key, None)
            if answer:
                self._answers.pop(key, None)
                self._answers[key] = answer
            elif error is not None:
                self._errors[key] = error
            for kept in (self._answers, self._errors):
                while len(kept) > _KEPT:
                    del kept[next(iter(kept))]
            self._changed.notify_all()


_RESOLVER = Resolver()  # one for the process, which bounds the number of threads that wait for the C library


def look_up(host: str, port: int, timeout_s: float) -> list[Address]:
    """See `Resolver.look_up`."""
    return _RESOLVER.look_up(host, port, timeout_s)
