"""The memory contract: what a configuration will take on a board, line by line, against what the board has.

NPU memory comes from the manifest (the converter's figures), the process from a measured start of the same libraries,
frames from the source's size. Not here: measuring a running process (bench/), reporting (check.py).
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_app.errors import ConfigError
from edge_app.model.manifest import Manifest

MIB = 1 << 20


FRAMES = 4  # that live at once: captured, in inference, in publishing, and one in reserve
_START = "import edge_app.pipeline, cv2, sys; sys.stdout.write(open('/proc/self/status').read())"


@dataclass(frozen=True, slots=True)
class Board:
    """What a board gives to programs, bytes.

    usable: MemTotal. cma: carved out of RAM for NPU and camera, 0 where the NPU takes ordinary memory. system: what the
    kernel's caches and the board's own services hold, an estimate.
    """

    name: str
    target: str
    usable: int
    cma: int
    system: int


# MemTotal as read on boards with 66 MB of CMA (rv1106g2, g3) or reckoned from their size (the others)
BOARDS = {
    board.name: board
    for board in (
        Board("rv1103", "rv1103", 34 * MIB, 24 * MIB, 8 * MIB),
        Board("rv1106g2", "rv1106", 56_348 * 1024, 66 * MIB, 12 * MIB),
        Board("rv1106g3", "rv1106", 186_384 * 1024, 66 * MIB, 24 * MIB),
        Board("rk3566", "rk3566", 1900 * MIB, 0, 250 * MIB),
        Board("rk3588", "rk3588", 3800 * MIB, 0, 350 * MIB),
    )
}


def board(name: str) -> Board:
    """A known board. Raises ConfigError with those that are known."""
    if name not in BOARDS:
        raise ConfigError(f"--board: found '{name}'; expected one of {', '.join(BOARDS)}")
    return BOARDS[name]


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the plan. pool: where it is taken from."""

    what: str
    bytes: int
    pool: str


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """A plan against a board. unknown: what could not be counted, in words."""

    board: Board
    items: tuple[Item, ...]
    unknown: tuple[str, ...]

    def need(self, pool: str) -> int:
        return sum(item.bytes for item in self.items if item.pool == pool)

    def margin(self, pool: str) -> int:
        """Bytes left in `ram` or `cma`; negative where it cannot fit."""
        return (self.board.usable if pool == "ram" else self.board.cma) - self.need(pool)

    @property
    def fits(self) -> bool:
        return all(self.margin(pool) >= 0 for pool in self.pools())

    def pools(self) -> tuple[str, ...]:
        return ("ram", "cma") if self.board.cma else ("ram",)

    def lines(self) -> list[str]:
        """Every item, then what is left of each pool."""
        found = [f"{item.bytes / MIB:7.1f} MiB {item.pool}  {item.what}" for item in self.items]
        for pool in self.pools():
            total = (self.board.usable if pool == "ram" else self.board.cma) / MIB
            verb = "left" if self.margin(pool) >= 0 else "MISSING"
            found.append(f"{abs(self.margin(pool)) / MIB:7.1f} MiB {pool}  {verb} of {total:.1f} on {self.board.name}")
        return found


def plan(
    manifest: Manifest,
    board: Board,
    frame_size: tuple[int, int],
    process: int | None,
    extra: Sequence[Item] = (),
    *,
    parts: bool = False,
) -> MemoryPlan:
    """What the model and the process take on a board. frame_size: of captured frames (NV12); process: see `process`.

    extra: what other parts state of themselves, such as the cache of reuse. parts: reuse computes parts of pictures in
    the shapes that the model has for this board; the heads' whole graphs are loaded once more for it.
    """
    npu = "cma" if board.cma else "ram"
    items = [Item("the system", board.system, "ram")]
    unknown: list[str] = []
    if process is None:
        unknown.append("the process itself: it could not be started and measured here")
    else:
        machine = platform.machine()
        items.append(
            Item(f"Python, numpy, OpenCV and edge_app (private memory, measured on {machine})", process, "ram")
        )
    files = manifest.of_target(board.target)
    if not files:
        unknown.append(f"the model has no graph for {board.target}: compile it with --target {board.target}")
    if parts:
        shaped = manifest.shapes[board.target]
        others = [h for name, h in manifest.heads.items() if name not in shaped.heads and h.crops is None]
        files = [*files, *shaped.files(), *(h.graph[board.target] for h in others if h.graph)]
    for name in files:
        if name not in manifest.memory:
            unknown.append(f"{name}: its NPU memory is not in the manifest: compile the model to have it")
            continue
        memory = manifest.memory[name]
        items.append(Item(f"{name}: weights", memory.weights, npu))
        items.append(Item(f"{name}: internal buffers", memory.internal, npu))
    items.append(Item("the model's input", manifest.input.width * manifest.input.height * 3, npu))
    width, height = frame_size
    items.append(Item(f"{FRAMES} frames of {width}x{height}, NV12", FRAMES * width * height * 3 // 2, npu))
    items.append(Item(f"one frame of {width}x{height}, BGR", width * height * 3, "ram"))
    return MemoryPlan(board, (*items, *extra), tuple(unknown))


def process() -> int | None:
    """Private bytes of a Python that has loaded the runtime, measured now; None where that cannot be done.

    Pages of libraries are not counted: the kernel drops them when memory is short, and reads them again.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return private_bytes(done.stdout)


def private_bytes(status: str) -> int | None:
    """RssAnon of the text of /proc/PID/status, bytes; None where it is not there."""
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return int(found[0]) * 1024 if found else None


def this_board(target: str, meminfo: Path = Path("/proc/meminfo")) -> Board | None:
    """The board that this runs on, from what its kernel says; None where it does not."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    size = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
    if "MemTotal" not in size:
        return None
    taken = size["MemTotal"] - size.get("MemAvailable", size["MemTotal"])
    return Board("this board", target, size["MemTotal"], size.get("CmaTotal", 0), taken)
