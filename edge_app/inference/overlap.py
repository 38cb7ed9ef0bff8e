"""Inference on a frame in three steps, each on another thread: prepare the input, run the graphs, decode the outputs.

While the graphs run on one frame, the next one is prepared and the one before is decoded. The results are those of
`Inference.infer`. Only for a model whose heads all run on every whole frame, without reuse: then no step depends on the
outcome of a later one. Not here: the threads (capture/, supervisor.py, pipeline/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Array
from edge_app.frame import Frame, HeadOutput
from edge_app.geometry.boxes import Transform
from edge_app.inference.preprocess import Preprocess
from edge_app.model.schema import Input
from edge_app.reuse.network_cache import OutputsOf

_TENSORS = 4  # of two frames that are read ahead (capture/read_ahead.py) and two in flight

Outputs = Mapping[str, Array]


@dataclass(slots=True)
class Work:
    """The state of a frame between two steps (`Frame.work`). owner: the model that it belongs to.

    outputs: of each head that is enabled, once the graphs have run.
    """

    owner: object
    tensor: NDArray[Any]
    transform: Transform
    outputs: dict[str, Outputs] | None = None


class OverlappedInference:
    """The three steps. Each is called by one thread, in the order of the frames.

    run: runs the shared graphs on a tensor. enabled: by head name. decode: decodes the outputs of the head of a name.
    copy: whether the engine overwrites outputs with its next run.
    """

    def __init__(
        self,
        spec: Input,
        run: Callable[[NDArray[Any]], OutputsOf],
        enabled: Callable[[], Mapping[str, bool]],
        decode: Callable[[str, Outputs, Transform], HeadOutput],
        *,
        copy: bool,
    ) -> None:
        self._spec, self._run, self._enabled, self._decode, self._copy = spec, run, enabled, decode, copy
        self._preprocess = Preprocess(spec, _TENSORS)

    def prepare(self, frame: Frame) -> None:
        """Make the input tensor. It is valid until the fourth frame after this one is prepared."""
        frame.work = Work(self, *self._preprocess.prepare(frame))

    def run(self, frame: Frame) -> Frame:
        """Run the graphs of all heads. A frame that was prepared for another model, or not at all, is prepared here."""
        if not isinstance(frame.work, Work) or frame.work.owner is not self:
            frame.work = Work(self, *Preprocess(self._spec).prepare(frame))
        outputs_of = self._run(frame.work.tensor)
        frame.work.outputs = {
            name: self._outputs(outputs_of, name) for name, enabled in self._enabled().items() if enabled
        }
        return frame

    def decode(self, frame: Frame) -> Frame:
        """Fill `frame.heads` from the outputs of `run`."""
        work, frame.work = frame.work, None
        assert isinstance(work, Work)
        assert work.outputs is not None
        frame.heads = {name: self._decode(name, outputs, work.transform) for name, outputs in work.outputs.items()}
        return frame

    def _outputs(self, outputs_of: OutputsOf, name: str) -> Outputs:
        outputs = outputs_of(name)
        assert outputs is not None
        return {key: np.array(value) for key, value in outputs.items()} if self._copy else outputs
