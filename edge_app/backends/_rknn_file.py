"""Read and check the header of a .rknn file before loading it, since the runtime reports only -1.

Layout as observed in files of rknn-toolkit2 2.5.0, little endian: `RKNN`; at 8 a u64 format (6 full, 0x1004 RV110x); at
16 a u64 length n of the body, which starts at 64; at 64 + n a u64 length and a JSON object. Not here: the body, whose
format is proprietary.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.backends import Graph
from edge_app.errors import ModelError, foreign_text

FULL, MINI = 6, 0x1004
_FORMATS = {FULL: "RK356x / RK3588", MINI: "RV1103 / RV1106"}
_BODY = 64
_MAX_HEADER = 16 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a .rknn file.

    version: of the converter. platforms: the SoCs for which it was compiled. inputs, outputs: name and declared shape
    (NCHW), in the runtime's order.
    """

    format: int
    version: str
    platforms: tuple[str, ...]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]


def read(graph: Graph, target: str, format_: int) -> tuple[bytes, Header]:
    """Read a graph's bytes and header. Raises ModelError if the file was not compiled for the SoC `target`."""
    data = graph.read()
    header = parse(data, graph.path)
    if header.format != format_:
        found = _FORMATS.get(header.format, f"format {header.format:#x}")
        expected = f"expected a file for {_FORMATS[format_]}: compile with --target {target}"
        raise ModelError(f"{graph.path}: compiled for {found}; {expected}")
    if target not in header.platforms:
        found = ", ".join(header.platforms)
        raise ModelError(
            f"{graph.path}: compiled for {foreign_text(found)}; expected {target}: compile with --target {target}"
        )
    return data, header


def parse(data: bytes, path: Path) -> Header:
    """Parse the header. Raises ModelError if `data` is not a complete .rknn file."""
    if data[:4] != b"RKNN":
        raise ModelError(f"{path}: starts with {data[:4]!r}; expected a .rknn file")
    try:
        (format_,) = struct.unpack_from("<Q", data, 8)
        (body,) = struct.unpack_from("<Q", data, 16)
        (length,) = struct.unpack_from("<Q", data, _BODY + body)
        if length > _MAX_HEADER:
            raise ValueError("the header is too large")
        text = data[_BODY + body + 8 : _BODY + body + 8 + length]
        if len(text) != length:
            raise ValueError("the file is truncated")
        return _header(format_, json.loads(text.rstrip(b"\0")))
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
        found = f"found {len(data)} bytes, damaged: {foreign_text(str(exc))}"
        raise ModelError(f"{path}: {found}; expected a complete .rknn file") from exc


def version_notes(path: Path, converter: str, runtime: str) -> list[str]:
    """A warning line if the runtime is older than the converter of the file, by major and minor version; else []."""
    needed, present = _number(converter), _number(runtime)
    if not needed or not present or present >= needed:
        return []
    return [f"{path}: converted by {converter}, run by {runtime}; expected a runtime at least as new as the converter"]


def _number(text: str) -> tuple[int, ...]:
    """The first version number in a text, after the last `rknnrt:` if there is one (the version of the library)."""
    match = re.search(r"(\d+)\.(\d+)", text.rpartition("rknnrt:")[2])
    return (int(match[1]), int(match[2])) if match else ()


def _header(format_: int, info: Any) -> Header:
    tensors = {t["tensor_id"]: (str(t["url"]), tuple(int(n) for n in t["size"])) for t in info["norm_tensor"]}

    def side(name: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        entries = [entry for entry in info["graph"] if entry["left"] == name]
        return tuple(tensors[e["right_tensor_id"]] for e in sorted(entries, key=lambda e: int(e["left_tensor_id"])))

    platforms = info["target_platform"]
    names = [platforms] if isinstance(platforms, str) else platforms
    return Header(format_, str(info["version"]), tuple(str(p).lower() for p in names), side("input"), side("output"))
