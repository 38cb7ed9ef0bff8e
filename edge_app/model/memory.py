"""Plan the memory that a configuration needs on a board, item by item, and compare it with what the board has.

NPU memory comes from the manifest (the converter's figures), the process from a measured start of the same libraries,
frames from the size of the source. Not here: measuring a running process (bench/), reporting (cli/check.py).
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_app import boards
from edge_app.model.manifest import Manifest

MIB = 1 << 20
FRAMES = 4  # alive at the same time: captured, in inference, being published, and one spare
_START = "import edge_app.pipeline, cv2, sys; sys.stdout.write(open('/proc/self/status').read())"


@dataclass(frozen=True, slots=True)
class Board:
    """The memory of a board, in bytes.

    usable: MemTotal. cma: reserved for NPU and camera, 0 if the NPU uses ordinary memory. system: an estimate of what
    the kernel's caches and the board's own services use.
    """

    name: str
    target: str
    usable: int
    cma: int
    system: int


def board(name: str) -> Board:
    """The memory of a board of edge_app/boards, by name or alias. Raises ConfigError with the nearest name."""
    known = boards.find(name, among=[each for each in boards.all_boards() if each.total_kb])
    assert known.total_kb is not None
    return Board(known.name, known.target, known.total_kb << 10, known.cma_mb * MIB, known.system_mb * MIB)


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One line of the plan. pool: `ram` or `cma`."""

    text: str
    bytes: int
    pool: str


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The items of a configuration on a board. unknown: descriptions of what could not be counted."""

    board: Board
    items: tuple[PlanItem, ...]
    unknown: tuple[str, ...]

    def required(self, pool: str) -> int:
        """Bytes that the items take from a pool."""
        return sum(item.bytes for item in self.items if item.pool == pool)

    def margin(self, pool: str) -> int:
        """Bytes left in `ram` or `cma`; negative if the plan does not fit."""
        return (self.board.usable if pool == "ram" else self.board.cma) - self.required(pool)

    @property
    def fits(self) -> bool:
        return all(self.margin(pool) >= 0 for pool in self.pools())

    def pools(self) -> tuple[str, ...]:
        return ("ram", "cma") if self.board.cma else ("ram",)

    def lines(self) -> list[str]:
        """The plan as text: every item, then the margin of each pool."""
        lines = [f"{item.bytes / MIB:7.1f} MiB {item.pool}  {item.text}" for item in self.items]
        for pool in self.pools():
            total = (self.board.usable if pool == "ram" else self.board.cma) / MIB
            verb = "left" if self.margin(pool) >= 0 else "MISSING"
            lines.append(f"{abs(self.margin(pool)) / MIB:7.1f} MiB {pool}  {verb} of {total:.1f} on {self.board.name}")
        return lines


def plan(
    manifest: Manifest,
    board: Board,
    frame_size: tuple[int, int],
    process: int | None,
    extra: Sequence[PlanItem] = (),
    *,
    parts: bool = False,
) -> MemoryPlan:
    """Plan the memory of the model and the process on a board.

    frame_size: width and height of captured frames (NV12). process: its bytes, see `measure_process`. extra: items that
    other packages state, such as the feature cache. parts: reuse computes parts of images with the model's fixed
    shapes for this board, and loads the whole graphs of the other heads a second time.
    """
    npu = "cma" if board.cma else "ram"
    items = [PlanItem("the system", board.system, "ram")]
    unknown: list[str] = []
    if process is None:
        unknown.append("the process itself: it could not be started and measured here")
    else:
        text = f"Python, numpy, OpenCV and edge_app (private memory, measured on {platform.machine()})"
        items.append(PlanItem(text, process, "ram"))
    files = _files(manifest, board.target, parts)
    if not files and manifest.files():
        unknown.append(f"the model has no graph for {board.target}: compile it with --target {board.target}")
    for name in files:
        if name not in manifest.memory:
            unknown.append(f"{name}: its NPU memory is not in the manifest: compile the model to add it")
            continue
        memory = manifest.memory[name]
        items.append(PlanItem(f"{name}: weights", memory.weights, npu))
        items.append(PlanItem(f"{name}: internal buffers", memory.internal, npu))
    items += of_camera(manifest, board, frame_size)
    return MemoryPlan(board, (*items, *extra), tuple(unknown))


def of_camera(manifest: Manifest, board: Board, frame_size: tuple[int, int]) -> list[PlanItem]:
    """The buffers that each camera has for itself. frame_size: width and height of its frames."""
    npu, (width, height) = "cma" if board.cma else "ram", frame_size
    return [
        PlanItem("the model's input", manifest.input.width * manifest.input.height * 3, npu),
        PlanItem(f"{FRAMES} frames of {width}x{height}, NV12", FRAMES * width * height * 3 // 2, npu),
        PlanItem(f"one frame of {width}x{height}, BGR", width * height * 3, "ram"),
    ]


def _files(manifest: Manifest, target: str, parts: bool) -> list[str]:
    """The graph files that are loaded, one entry for each time a file is loaded."""
    files = manifest.of_target(target)
    if parts and files:
        fixed = manifest.shapes[target]
        others = [h for name, h in manifest.heads.items() if name not in fixed.heads and h.crops is None]
        files += [*fixed.files(), *(h.graph[target] for h in others if h.graph)]
    return files


def measure_process() -> int | None:
    """Measure the private bytes of a Python process that has loaded the runtime; None if that fails.

    Pages of libraries are not counted: the kernel can drop them under memory pressure and read them again.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return private_bytes(done.stdout)


def private_bytes(status: str) -> int | None:
    """RssAnon in bytes from the text of /proc/PID/status; None if the text has none."""
    values = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return int(values[0]) * 1024 if values else None


def this_board(target: str, meminfo: Path = Path("/proc/meminfo")) -> Board | None:
    """The board that this process runs on, as described by /proc/meminfo; None if that cannot be read."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    size = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
    if "MemTotal" not in size:
        return None
    used = size["MemTotal"] - size.get("MemAvailable", size["MemTotal"])
    return Board("this board", target, size["MemTotal"], size.get("CmaTotal", 0), used)
