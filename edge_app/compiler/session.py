"""Run a graph on this machine with one thread, for the comparisons and timings of the compiler."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import ModelError, foreign_message

Array = NDArray[Any]


class HostSession:
    """A graph in onnxruntime. Raises ModelError if it cannot be loaded."""

    def __init__(self, graph: bytes, *, optimize: bool = True) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise ModelError(f"onnxruntime cannot load the graph: {foreign_message(exc)}") from exc
        self.inputs = [node.name for node in self._session.get_inputs()]
        self.outputs = [node.name for node in self._session.get_outputs()]

    def run(self, image: Array) -> list[Array]:
        """Run a graph with one input. Returns its outputs, in the graph's order."""
        return self.feed({self.inputs[0]: image})

    def feed(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run a graph with inputs by name. Returns its outputs, in the graph's order."""
        try:
            found: list[Array] = self._session.run(None, dict(feeds))
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise ModelError(f"onnxruntime cannot run the graph: {foreign_message(exc)}") from exc
        return found


def times_ms(calls: Mapping[str, Callable[[], object]], rounds: int = 40) -> dict[str, float]:
    """Median CPU milliseconds of each call on this thread; calls are interleaved, so that load affects all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            seconds[name].append(time.thread_time() - start)
    return {name: float(np.median(each[1:])) * 1e3 for name, each in seconds.items()}
