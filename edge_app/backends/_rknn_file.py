"""The header of a .rknn file, read before the runtime sees it, since the runtime only answers -1.

Layout as observed in files of rknn-toolkit2 2.5.0: `RKNN`, u64 LE at 8 the format (6 full, 0x1004 RV110x), u64 at 16
the length n of the body, which begins at 64; at 64 + n a u64 length and a JSON object. Not here: the body, which is the
vendor's.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.backends import Graph
from edge_app.errors import ModelError

FULL, MINI = 6, 0x1004
_FORMATS = {FULL: "RK356x / RK3588", MINI: "RV1103 / RV1106"}
_BODY = 64


@dataclass(frozen=True, slots=True)
class Header:
    """What a .rknn file says of itself.

    version: of the converter. platforms: the SoCs it was made for. inputs, outputs: name and shape, as the graph's
    author sees them (NCHW), in the runtime's order.
    """

    format: int
    version: str
    platforms: tuple[str, ...]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]


def read(graph: Graph, target: str, format_: int) -> tuple[bytes, Header]:
    """A graph's bytes and header, checked for a SoC. Raises ModelError where the file is not for it."""
    data = graph.read()
    header = parse(data, graph.path)
    if header.format != format_:
        found = _FORMATS.get(header.format, f"format {header.format:#x}")
        raise ModelError(
            f"{graph.path}: made for {found}; expected a file for {_FORMATS[format_]}: compile with --target {target}"
        )
    if target not in header.platforms:
        raise ModelError(
            f"{graph.path}: made for {', '.join(header.platforms)}; expected {target}: compile with --target {target}"
        )
    return data, header


def parse(data: bytes, path: Path) -> Header:
    """Raises ModelError where `data` is no whole .rknn file."""
    if data[:4] != b"RKNN":
        raise ModelError(f"{path}: begins with {data[:4]!r}; expected a .rknn file")
    try:
        (format_,) = struct.unpack_from("<Q", data, 8)
        (body,) = struct.unpack_from("<Q", data, 16)
        (length,) = struct.unpack_from("<Q", data, _BODY + body)
        text = data[_BODY + body + 8 : _BODY + body + 8 + length]
        if len(text) != length:
            raise ValueError("the file ends too early")
        return _header(format_, json.loads(text.rstrip(b"\0")))
    except (struct.error, ValueError, KeyError, TypeError, IndexError) as exc:
        raise ModelError(f"{path}: damaged: {exc}; expected a whole .rknn file of {len(data)} bytes or more") from exc


def version_notes(path: Path, converter: str, runtime: str) -> list[str]:
    """A line where the runtime is older than the converter that made the file: major and minor versions count."""
    made, runs = _number(converter), _number(runtime)
    if not made or not runs or runs >= made:
        return []
    return [f"{path}: converted by {converter}, run by {runtime}; expected a runtime as new as the converter"]


def _number(text: str) -> tuple[int, ...]:
    """The first version number in a text; of several after the last `rknnrt:`, which is the library's own."""
    found = re.search(r"(\d+)\.(\d+)", text.rpartition("rknnrt:")[2])
    return (int(found[1]), int(found[2])) if found else ()


def _header(format_: int, info: Any) -> Header:
    tensors = {t["tensor_id"]: (str(t["url"]), tuple(int(n) for n in t["size"])) for t in info["norm_tensor"]}

    def side(name: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        entries = [entry for entry in info["graph"] if entry["left"] == name]
        return tuple(tensors[e["right_tensor_id"]] for e in sorted(entries, key=lambda e: int(e["left_tensor_id"])))

    platforms = info["target_platform"]
    names = [platforms] if isinstance(platforms, str) else platforms
    return Header(format_, str(info["version"]), tuple(str(p).lower() for p in names), side("input"), side("output"))
