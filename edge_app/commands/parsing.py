"""The table of commands, and the parser of their names and payloads.

Not here: whether a head or rule exists (changes.py).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_app.errors import foreign_text

MAX_PAYLOAD_BYTES = 1024
MAX_NAME_BYTES = 256
MAX_ID = 64  # characters
_MAX_MUTE_MIN = 24 * 60
_PRECISIONS = ("float", "int8", "auto")
_FIELDS = {"value", "id", "persist"}
_NAME = re.compile(r"[^/\x00-\x1f\x7f]{1,64}")

Value = bool | float | str | None


class CommandError(Exception):
    """A command that is rejected. status: of HTTP. Its text is one line: `command: found; expected`."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Command:
    """A command. kind: its entry in the table, `rules/*`. target: the name in place of `*`. id: of the answer.

    persist: whether it is stored, so that it also holds after the next start.
    """

    kind: str
    target: str = ""
    value: Value = None
    id: str = ""
    persist: bool = False

    @property
    def name(self) -> str:
        """As sent: `rules/plaza`."""
        return self.kind.replace("*", self.target)

    @property
    def heavy(self) -> bool:
        """Whether it interrupts processing, because it loads a model or the process again."""
        return TABLE[self.kind].heavy


@dataclass(frozen=True, slots=True)
class Kind:
    """read: a value as parsed, or raises ValueError with what is expected. stored: whether it can have `persist`."""

    read: Callable[[Any], Value]
    stored: bool = False
    heavy: bool = False


def _switch(value: Any) -> Value:
    if isinstance(value, bool):
        return value
    text = value.upper() if isinstance(value, str) else ""
    if text not in ("ON", "OFF"):
        raise ValueError("ON or OFF")
    return text == "ON"


def _number(high: float) -> Callable[[Any], Value]:
    def read(value: Any) -> Value:
        try:
            number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not 0 <= number <= high:
            raise ValueError(f"a number 0 to {high:g}")
        return number

    return read


def _precision(value: Any) -> Value:
    if value not in _PRECISIONS:
        raise ValueError(" or ".join(_PRECISIONS))
    return str(value)


def _nothing(value: Any) -> Value:
    if value not in (None, "", "PRESS"):  # the payload of a button of Home Assistant
        raise ValueError("no value")
    return None


TABLE: Mapping[str, Kind] = {
    "heads/*": Kind(_switch, stored=True),
    "rules/*": Kind(_switch, stored=True),
    "heads/*/score": Kind(_number(1), stored=True),
    "detect": Kind(_switch),  # all heads
    "reuse": Kind(_switch, stored=True, heavy=True),
    "precision": Kind(_precision, stored=True, heavy=True),
    "mute": Kind(_number(_MAX_MUTE_MIN)),
    "snapshot": Kind(_nothing),
    "reload": Kind(_nothing, heavy=True),
    "restart": Kind(_nothing, heavy=True),
}


def parse(name: str, payload: bytes) -> Command:
    """Parse a command. name: the levels of its topic below `set/<camera>`. Raises CommandError."""
    kind, target = _find(name)
    shown = kind.replace("*", target)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise CommandError(f"{shown}: found {len(payload)} bytes; expected at most {MAX_PAYLOAD_BYTES}", 413)
    fields = _fields(shown, payload)
    id_, persist = fields.get("id", ""), fields.get("persist", False)
    if not isinstance(id_, (str, int)) or isinstance(id_, bool) or len(text := str(id_)) > MAX_ID:
        raise CommandError(f"{shown}: found another id; expected a text of at most {MAX_ID} characters")
    if not isinstance(persist, bool):
        raise CommandError(f"{shown}: found another persist; expected true or false")
    if persist and not TABLE[kind].stored:
        raise CommandError(f"{shown}: found persist; expected it only with {', '.join(_stored())}")
    try:
        value = TABLE[kind].read(fields.get("value"))
    except ValueError as exc:
        raise CommandError(f"{shown}: found {_shown(fields.get('value'))}; expected {exc}") from None
    return Command(kind, target, value, foreign_text(text, MAX_ID), persist)


def id_of(payload: bytes) -> str:
    """The id of a payload that was rejected, so that its sender recognizes the answer; "" if there is none."""
    try:
        id_ = _fields("", payload[:MAX_PAYLOAD_BYTES]).get("id", "")
    except CommandError:
        return ""
    is_id = isinstance(id_, (str, int)) and not isinstance(id_, bool) and len(str(id_)) <= MAX_ID
    return foreign_text(id_, MAX_ID) if is_id else ""


def _find(name: str) -> tuple[str, str]:
    """The entry in the table, and the name of the head or rule."""
    levels = name.split("/") if len(name) <= MAX_NAME_BYTES else []
    for kind in TABLE:
        pattern = kind.split("/")
        if len(pattern) == len(levels) and all(each in ("*", level) for each, level in zip(pattern, levels)):
            target = levels[pattern.index("*")] if "*" in pattern else ""
            if "*" not in pattern or _NAME.fullmatch(target):
                return kind, target
    raise CommandError(f"found no command '{foreign_text(name, 80)}'; expected one of: {', '.join(TABLE)}", 404)


def _fields(shown: str, payload: bytes) -> dict[str, Any]:
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        raise CommandError(f"{shown}: found bytes that are not UTF-8; expected text or JSON") from None
    if not text.startswith("{"):
        return {"value": text}
    try:
        fields = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise CommandError(f"{shown}: found a damaged JSON object; expected fields value, id, persist") from None
    unknown = set(fields) - _FIELDS
    if unknown:
        found = foreign_text(min(unknown), 40)
        raise CommandError(f"{shown}: found the field '{found}'; expected value, id, persist")
    return dict(fields)


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _stored() -> list[str]:
    return [name for name, kind in TABLE.items() if kind.stored]


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else f"'{foreign_text(value, 40)}'"
