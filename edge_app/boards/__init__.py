"""The boards: their names, SoCs, NPU targets, memory and libraries, from boards.yaml, the only table of them.

`check`, `doctor` and `compile` read it, and deploy.sh through firmware_bundle/boards.py.
Not here: the SoC that a backend runs on (backends/_soc.py), the memory plan (model/memory.py).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from edge_app.errors import ConfigError, foreign_text
from edge_app.options import WRONG, Positive, read_dataclass
from edge_app.options.document import Problems, entries, load_yaml

FILE = Path(__file__).with_name("boards.yaml")
_ENGINES = ("onnx", "int8", "ncnn")  # targets that are not made for one SoC
_COMPATIBLE = re.compile(r"rockchip,(rv1126b|rk3588s|r[kv]\d{4}(?:g\d)?)")


@dataclass(frozen=True, slots=True)
class Board:
    """One entry of boards.yaml, whose first lines explain the fields. ram_mb, total_kb,
    npu_cycle_ns: None if unknown.
    """

    name: str
    target: str
    bundle: str
    backend: str
    wheels: str
    init: Literal["busybox", "systemd"]
    soc: str = ""
    also: str = ""
    machine: str = ""
    aliases: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    ram_mb: Positive | None = None
    total_kb: Positive | None = None
    cma_mb: int = 0
    system_mb: int = 0
    npu_formula: Literal["rv1106", "rk3588"] = "rk3588"
    npu_cycle_ns: float | None = None
    npu_error: float = 1.0
    npu_published: bool = False
    note: str = ""

    def describe(self) -> str:
        """Its properties in one line."""
        memory = f", {self.ram_mb} MB of RAM" if self.ram_mb else ""
        cma = f" ({self.cma_mb} MB of it CMA)" if self.cma_mb else ""
        libraries = f", needs {' and '.join(self.libraries)}" if self.libraries else ""
        return f"{self.soc or self.name}, graphs for {self.target}{memory}{cma}, {self.init}{libraries}"


@cache
def all_boards() -> tuple[Board, ...]:
    """All boards, in the order of the file. Raises ConfigError if the file is damaged."""
    problems = Problems(FILE)
    listed = entries(load_yaml(FILE, problems)).get("boards")
    nodes = listed.value if isinstance(listed, yaml.SequenceNode) else []
    read = [read_dataclass(node, Board, f"boards[{i}]", problems) for i, node in enumerate(nodes)]
    problems.raise_if_any()
    return tuple(board for board in read if board is not WRONG)


def find(
    name: str, where: str = "--board", among: Iterable[Board] | None = None, others: tuple[str, ...] = ()
) -> Board:
    """The board of this name or alias. Raises ConfigError with the nearest name.

    where: the start of the message. among: the boards that count; None: all. others: names that are no boards, which
    the message lists too.
    """
    boards = all_boards() if among is None else tuple(among)
    known = _names(boards)
    found = known.get(_key(name))
    if found is not None:
        return found[1]
    close = difflib.get_close_matches(_key(name), [*others, *known], 1, 0.6)
    if close and close[0] in others:
        expected = f"did you mean '{close[0]}'?"
    elif close:
        shown, board = known[close[0]]
        of = "" if shown == board.name else f" ({board.name})"
        expected = f"did you mean '{shown}'{of}?"
    else:
        expected = f"expected one of: {', '.join([*others, *(board.name for board in boards)])}"
    raise ConfigError(f"{where}: found '{foreign_text(name)}'; {expected}")


def detect(model: str, compatible: Iterable[str], machine: str, total_kb: int | None = None) -> Board | None:
    """The board with this device tree: its model, and its compatible strings, the SoC last. None if it is unknown.

    machine: as `uname -m` prints it, for machines without a Rockchip SoC. total_kb: MemTotal, which tells memory sizes
    of one SoC apart.
    """
    known = _names(all_boards())
    named = known.get(_key(model))
    if named is not None:
        return named[1]
    socs = [soc for text in compatible for soc in _COMPATIBLE.findall(text)]
    found = known.get(_key(socs[-1] if socs else machine))
    if found is None:
        return None
    if socs and _key(socs[-1]) == _key(found[1].name):
        return found[1]
    return _of_size(found[1], total_kb)


def targets_of(listed: str) -> str:
    """`onnx,Luckfox Pico Max` -> `onnx,rv1106`: names of boards become their targets.

    Raises ConfigError with the nearest name if there is no such target and no such board.
    """
    names = [name.strip() for name in listed.split(",")]
    known = ("", *_ENGINES)
    return ",".join(name if name in known else find(name, "--target", others=_ENGINES).target for name in names)


def _of_size(board: Board, total_kb: int | None) -> Board:
    """Of the boards with the same bundle and target, the largest that is not larger than this memory."""
    same = [each for each in all_boards() if (each.bundle, each.target) == (board.bundle, board.target)]
    fitting = [each for each in same if total_kb is not None and (each.total_kb or 0) <= total_kb]
    return max(fitting, key=lambda each: each.total_kb or 0, default=board)


def _names(boards: Iterable[Board]) -> dict[str, tuple[str, Board]]:
    """Every name and alias: without letter case and punctuation, then as written, with its board."""
    found: dict[str, tuple[str, Board]] = {}
    for board in boards:
        for name in (board.name, *board.aliases):
            found.setdefault(_key(name), (name, board))
    return found


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", name.lower())
