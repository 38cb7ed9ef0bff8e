"""Estimate how many frames per second a board's NPU can infer: cycles by formula, times a board's time per cycle.

The time per cycle is in boards.yaml, with its error: from figures that the vendor publishes for known networks, or from
the clock of the NPU. Needs the libraries of `compile`. Not here: the formula (model/cycles.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_app.boards import Board
from edge_app.cli.findings import Finding
from edge_app.errors import EdgeError
from edge_app.model import cycles

PUBLISHED = "rknn_model_zoo's figures of 8 networks"


@dataclass(frozen=True, slots=True)
class Speed:
    """Frames per second on one NPU core: the estimate, and its bounds by the error of the board's time per cycle."""

    fps: float
    low: float
    high: float
    million_cycles: float


def estimate(total_cycles: int, board: Board) -> Speed | None:
    """The speed of a network with so many cycles on `board.npu_formula`; None if nothing is known of the board."""
    if board.npu_cycle_ns is None or not total_cycles:
        return None
    fps = 1e9 / (total_cycles * board.npu_cycle_ns)
    return Speed(fps, fps / board.npu_error, fps * board.npu_error, total_cycles / 1e6)


def check(folder: Path, board: Board) -> Iterator[Finding]:
    """A finding for a board with an NPU: the speed of all graphs of a model folder, or why it is unknown."""
    if not board.soc:
        return
    if board.npu_cycle_ns is None:
        yield Finding("speed", "absent", f"{board.name}: no published figure to estimate frames per second from")
        return
    try:
        from edge_app.slim import layers

        network = layers.read(folder)
    except ImportError:
        yield Finding("speed", "absent", f"{board.name}: not estimated: needs the libraries of `edge-app compile`")
        return
    except EdgeError as exc:
        yield Finding("speed", "absent", f"{board.name}: not estimated: {exc}")
        return
    found = estimate(cycles.total(network.layers, board.npu_formula), board)
    if found is not None:
        yield Finding("speed", "ok", describe(found, board))


def describe(speed: Speed, board: Board) -> str:
    """The estimate in one line, with its source and error."""
    source = (
        PUBLISHED if board.npu_published else "the clock of its NPU and the RK3588's efficiency; no figure published"
    )
    bounds = f"{speed.fps:,.0f} frames/s ({speed.low:,.0f} to {speed.high:,.0f})"
    return (
        f"{board.name}, one NPU core, estimated: {bounds} for all heads, {speed.million_cycles:.2f} million cycles by"
        f" the converter's formula, by {source}, within a factor of {board.npu_error:g}; without capture,"
        " preprocessing and decoding"
    )
