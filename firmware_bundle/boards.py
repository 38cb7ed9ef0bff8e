"""The boards that bundles are built for, by the name that a bundle has: from the table edge_app/boards/boards.yaml.

Several boards may have the same bundle, as both memory sizes of the RV1106 do. Looking up a board needs python3-yaml.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_app import boards as table

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Board:
    """One kind of bundle. target: which graphs of a model folder it has (`onnx`, `ncnn`, or a Rockchip SoC).

    wheels: the list in wheels/ of the packages that its distribution lacks. machine: the platform in wheel names.
    backend: as in config.yaml. also: a second target that its configuration may use. ram_mb: of the smallest board with
    this bundle; None if unknown.
    """

    target: str
    wheels: str
    machine: str
    backend: str
    also: str = ""
    ram_mb: int | None = None

    @property
    def platforms(self) -> list[str]:
        """The platform names of pip, for glibc 2.28 and newer; 2.31 on 32-bit ARM, for which no older wheels exist."""
        newest = "manylinux_2_31" if self.machine == "armv7l" else "manylinux_2_28"
        return [f"{each}_{self.machine}" for each in (newest, "manylinux_2_27", "manylinux2014")]


@cache
def bundles() -> Mapping[str, Board]:
    """All kinds of bundles by name. Raises ImportError without the library yaml."""
    found: dict[str, Board] = {}
    for each in sorted(_table().all_boards(), key=lambda each: each.ram_mb or 0, reverse=True):  # the smallest is last
        found[each.bundle] = Board(each.target, each.wheels, each.machine, each.backend, each.also, each.ram_mb)
    return found


def find(name: str) -> table.Board:
    """The board of this name or alias. Raises EdgeError with the nearest name, or ImportError without yaml."""
    found: table.Board = _table().find(name)
    return found


def detect(text: str) -> table.Board | None:
    """The board whose description deploy.sh has read: lines `model …`, `compatible …`, `machine …`, `memory …` (kB)."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value.strip())
    model, machine = ("".join(found.get(key, [])[:1]) for key in ("model", "machine"))
    memory = "".join(found.get("memory", [])[:1])
    total_kb = int(memory) if memory.isdigit() else None
    board: table.Board | None = _table().detect(model, found.get("compatible", []), machine, total_kb)
    return board


def _table() -> Any:
    """The module edge_app.boards of this checkout."""
    if str(PROJECT) not in sys.path:
        sys.path.insert(0, str(PROJECT))
    from edge_app import boards

    return boards
