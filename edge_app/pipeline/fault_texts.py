"""Code, severity and text of each kind of fault: for programs, for filters, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_app.frame import JsonValue

Severity = Literal["warning", "error", "critical"]


@dataclass(frozen=True, slots=True)
class FaultText:
    """code: never changes. severity: `critical`: no results; `error`: a part does not work; `warning`: works with less.

    text: a template of the fault's values, for people.
    """

    code: str
    severity: Severity
    text: str


_LOST = FaultText("camera_lost", "critical", "The camera delivers no images ({error}). The device keeps reconnecting.")
_FROZEN = FaultText("camera_frozen", "critical", "The camera repeats the same image. The device keeps reconnecting.")
_BACKEND = FaultText("backend_failed", "critical", "Inference failed ({error}). The engine is being restarted.")
_HEAD = FaultText("head_failed", "error", "The head '{head}' failed and is switched off ({error}).")
_LOAD = FaultText("load_reduced", "warning", "The device does less to save load: {does} ({reason}).")
_MEMORY = FaultText("memory_limit", "error", "The program uses {resident_mb} MB, limit {limit_mb} MB. It restarts.")
_FULL = FaultText("disk_full", "error", "The disk is full. A power cut loses undelivered messages.")
_DISK = FaultText("disk_failed", "error", "The disk cannot be used ({error}). A power cut loses undelivered messages.")
_UPDATE = FaultText("update_failed", "warning", "The update to {release} failed and was rolled back: {error}.")
_OVERRIDES = FaultText(
    "overrides_unfit", "error", "What was saved does not fit config.yaml and is not in effect ({error})."
)
_OTHER = FaultText("fault", "error", "A part of the device reports a fault.")

TEXTS = (_LOST, _FROZEN, _BACKEND, _HEAD, _LOAD, _MEMORY, _FULL, _DISK, _UPDATE, _OVERRIDES)

_FIXED: Mapping[str, FaultText] = {
    "backend": _BACKEND,
    "head": _HEAD,
    "load": _LOAD,
    "memory": _MEMORY,
    "update": _UPDATE,
    "overrides": _OVERRIDES,
}


def described(kind: str, value: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The value of a fault with its kind (`fault`), `code`, `severity` and `text`. kind: such as `camera`."""
    fault = _fault_text(kind, value)
    text = fault.text.format_map(_Printed(value))
    return {"fault": kind, "code": fault.code, "severity": fault.severity, "text": text, **value}


def _fault_text(kind: str, value: Mapping[str, JsonValue]) -> FaultText:
    if kind == "camera":
        return _FROZEN if value.get("state") == "frozen" else _LOST
    if kind == "disk":
        return _FULL if value.get("full") else _DISK
    return _FIXED.get(kind, _OTHER)


class _Printed(dict[str, JsonValue]):
    """Values for a template: a missing or empty one is `unknown`."""

    def __missing__(self, name: str) -> str:
        return "unknown"

    def __getitem__(self, name: str) -> JsonValue:
        value = super().__getitem__(name)
        return "unknown" if value in (None, "") else value
