"""Dialects: published messages as topics and payloads of other systems. One file for each; this is their contract.

`dialect: frigate` is the class Dialect of frigate.py. A dialect reads the published JSON objects only, so nothing
before the sink depends on it. Not here: connections and acknowledgments (sinks/), the messages (messages.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from edge_app.dialects._topics import MAX_TEXT_BYTES, as_level, is_level, is_text
from edge_app.errors import OptionError, SinkError, foreign_text
from edge_app.messages import Message
from edge_app.options.document import nearest

__all__ = [
    "MAX_TEXT_BYTES",
    "Conversion",
    "Dialect",
    "DialectContext",
    "Publication",
    "as_level",
    "build",
    "is_level",
    "is_text",
    "names",
]

_MAX_CONVERTED = 1000  # messages that a sink has not delivered: its last batches


@dataclass(frozen=True, slots=True)
class Publication:
    """One message of another system. topic: without the prefix. payload: JSON, text, or an image; empty: remove."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class DialectContext:
    """The device. source: the camera's name. image: the JPEG of an event by its id, or None if there is none."""

    device_id: str
    source: str
    image: Callable[[str], bytes | None]


class Dialect(Protocol):
    """`Dialect(context)`. Used by one thread; its memory is bounded.

    prefix: the default of the topics' first levels. per_device: the device's id follows the prefix. commands: topics
    below it to subscribe to; a message there is executed as `command` says, and answered with `state`.
    """

    prefix: ClassVar[str]
    per_device: ClassVar[bool]
    commands: Sequence[str]

    def convert(self, message: Message) -> Sequence[Publication]:
        """The publications for a message, in order; none if the system has no counterpart.

        Called once for each message, in order. Raises SinkError without `retry` if it cannot be expressed.
        """
        ...

    def command(self, topic: str, payload: bytes) -> tuple[str, bytes] | None:
        """The command of this device, and its payload, that a message on one of `commands` stands for; None: none."""
        ...

    def state(self) -> Sequence[Publication]:
        """What a receiver needs to know when the device has connected."""
        ...


def names() -> list[str]:
    """All dialects, as options name them."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def build(name: str, context: DialectContext) -> Dialect:
    """Raises OptionError if there is no such dialect."""
    if name not in names():
        found = foreign_text(name)
        raise OptionError("dialect", f"there is no dialect '{found}'{nearest(found, names())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    dialect: Dialect = module.Dialect(context)
    return dialect


class Conversion:
    """Converts the messages of a sink. A message that is sent again has the same publications: they are kept."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._kept: OrderedDict[str, Sequence[Publication] | SinkError] = OrderedDict()  # by message id

    def of(self, message: Message) -> Sequence[Publication]:
        """Raises SinkError without `retry` if the message cannot be expressed."""
        if message.id not in self._kept:
            self._kept[message.id] = self._convert(message)
            if len(self._kept) > _MAX_CONVERTED:
                self._kept.popitem(last=False)
        found = self._kept[message.id]
        if isinstance(found, SinkError):
            raise found
        return found

    def _convert(self, message: Message) -> Sequence[Publication] | SinkError:
        try:
            return self._dialect.convert(message)
        except SinkError as exc:
            return exc
        except (ValueError, LookupError, TypeError, AttributeError) as exc:  # a message of another release
            problem = f"not a message that this dialect can read: {type(exc).__name__}"
            return SinkError(f"{message.id}: {problem}", retry=False)

    def forget(self, id_: str) -> None:
        """The message is delivered."""
        self._kept.pop(id_, None)
