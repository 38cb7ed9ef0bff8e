"""From the threads of sinks and page to the daemon's loop: commands, and their answers back.

A rejected command is answered at once, on the thread that submits it; an accepted one when it has been executed.
Not here: executing (daemon/commands.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_app.commands.limits import RateLimit
from edge_app.commands.parsing import Command, CommandError, id_of, parse
from edge_app.errors import foreign_text

_BURST, _PER_S = 10, 2.0  # of each origin
_HEAVY_BURST, _HEAVY_PER_S = 3, 1 / 30  # of all: each of these interrupts processing
_STORE_BURST, _STORE_PER_S = 10, 1 / 30  # of all: each of these checks the files again and writes to the flash memory
_MAX_PENDING = 40
TOO_MANY = 429  # status of an answer


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a command. error: None if it was executed. status: of HTTP."""

    id: str
    command: str
    error: str | None = None
    status: int = 200

    def body(self) -> dict[str, str | bool | None]:
        """As published: `id`, `command`, `ok`, `error`."""
        return {"id": self.id, "command": self.command, "ok": self.error is None, "error": self.error}


Reply = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class Pending:
    """A command that waits for the loop. origin: `mqtt` or `page`."""

    command: Command
    origin: str
    reply: Reply


class Inbox:
    """Bounded and limited; for any thread. rejected: commands so far that were not accepted."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._pending: deque[Pending] = deque()
        self._now_s = now_s
        self._limits: dict[str, RateLimit] = {}
        self._heavy = RateLimit(_HEAVY_BURST, _HEAVY_PER_S, now_s)
        self._stored = RateLimit(_STORE_BURST, _STORE_PER_S, now_s)
        self.rejected = 0

    def submit(self, origin: str, name: str, payload: bytes, reply: Reply) -> None:
        """Take a command. reply: called once, on this thread if it is rejected, or on the loop's."""
        try:
            self._pending.append(Pending(self._accepted(origin, name, payload), origin, reply))
        except CommandError as exc:
            self.rejected += 1
            reply(Answer(id_of(payload), foreign_text(name, 80), str(exc), exc.status))

    def __bool__(self) -> bool:
        """Whether commands wait."""
        return bool(self._pending)

    def take(self) -> Iterator[Pending]:
        """Remove and return the waiting commands, in order. Called by the loop."""
        for _ in range(len(self._pending)):
            yield self._pending.popleft()

    def _accepted(self, origin: str, name: str, payload: bytes) -> Command:
        """The command. Raises CommandError if it is malformed or one too many."""
        limit = self._limits.setdefault(origin, RateLimit(_BURST, _PER_S, self._now_s))
        if not limit.accepts():
            raise CommandError(f"too many commands; expected at most {_PER_S:g} per second", TOO_MANY)
        command = parse(name, payload)
        if len(self._pending) >= _MAX_PENDING:
            raise CommandError("too many commands wait; expected a retry later", TOO_MANY)
        if command.heavy and not self._heavy.accepts():
            problem = "found too many in a short time; expected one reload, restart or change of the model in 30 s"
            raise CommandError(f"{command.name}: {problem}", TOO_MANY)
        if command.persist and not self._stored.accepts():
            raise CommandError(f"{command.name}: found too many with persist; expected one in 30 s", TOO_MANY)
        return command
