"""OverlappedInference gives the results of Inference.infer in three steps, which different threads call."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.config.reuse import OFF, ReuseConfig
from edge_app.frame import Classification, Frame, HeadOutput
from edge_app.geometry.boxes import Transform
from edge_app.inference.engine import open_backend
from edge_app.inference.overlap import OverlappedInference
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from edge_app.model.schema import Input
from tests.conftest import PROJECT

DIGITS = PROJECT / "models/digits"


def inference(*, every_s: float = 0.0, tolerant: bool = False, reuse: ReuseConfig = OFF) -> Inference:
    loaded = manifest.load(DIGITS)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in loaded.heads.items()}
    heads["scene"] = replace(heads["scene"], common=HeadCommon(every_s=every_s))
    backend = open_backend(loaded, ModelConfig(DIGITS, "onnx"))
    return Inference(loaded, backend, heads, tolerant=tolerant, reuse=reuse)


def frames(count: int, height: int = 240) -> list[Frame]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (count, height, 320, 3), np.uint8)
    return [Frame("camera", number, number * 10**8, 0, image) for number, image in enumerate(pixels)]


def arrays(output: HeadOutput) -> list[np.ndarray]:
    result = output.result
    return [result.score, result.class_id] if isinstance(result, Classification) else [result.score]


def test_the_steps_of_several_frames_give_the_results_of_infer():
    with closing(inference()) as model, closing(inference()) as other:
        steps, ahead = model.overlapped(), frames(5)
        for frame in ahead[:3]:
            steps.prepare(frame)
        done = []
        for number, frame in enumerate(ahead):
            steps.run(frame)
            if number + 3 < len(ahead):
                steps.prepare(ahead[number + 3])
            if number:
                done.append(steps.decode(ahead[number - 1]))
        done.append(steps.decode(ahead[-1]))
        for found, expected in zip(done, map(other.infer, frames(5))):
            assert found.work is None
            assert list(found.heads) == list(expected.heads) == ["digits", "panel", "scene"]
            for name, output in found.heads.items():
                assert (output.age_ns, output.reused) == (0, "")
                for a, b in zip(arrays(output), arrays(expected.heads[name])):
                    assert np.array_equal(a, b)


def test_a_head_that_is_disabled_does_not_run():
    with closing(inference()) as model:
        steps = model.overlapped()
        model.set_enabled("panel", False)
        (frame,) = frames(1)
        assert list(steps.decode(steps.run(frame)).heads) == ["digits", "scene"]


@pytest.mark.parametrize("options", [{"every_s": 1.0}, {"tolerant": True}, {"reuse": ReuseConfig(mode="gate")}])
def test_a_model_whose_steps_depend_on_earlier_outcomes_has_no_separate_steps(options):
    with closing(inference(**options)) as model:
        assert model.overlapped() is None


class Engine:
    """A model of one head `mean`, whose only output is overwritten by each run."""

    def __init__(self) -> None:
        self._output = np.zeros(1)

    def run(self, tensor: np.ndarray):
        self._output[:] = tensor.mean()
        return lambda _: {"mean": self._output}

    def steps(self, *, copy: bool) -> OverlappedInference:
        def decode(name: str, outputs: dict[str, np.ndarray], transform: Transform) -> HeadOutput:
            return HeadOutput(Classification(np.zeros(1, np.int32), outputs[name].astype(np.float32)))

        spec = Input(8, 8, dtype="uint8", resize="stretch")
        return OverlappedInference(spec, self.run, lambda: {"mean": True, "off": False}, decode, copy=copy)


def gray(level: int) -> Frame:
    return Frame("camera", level, 0, 0, np.full((8, 8, 3), level, np.uint8))


def mean(frame: Frame) -> float:
    return float(frame.heads["mean"].result.score[0])


def test_outputs_that_the_engine_overwrites_are_copied():
    steps = Engine().steps(copy=True)
    first, second = steps.run(gray(10)), steps.run(gray(20))
    assert (mean(steps.decode(first)), mean(steps.decode(second))) == (10, 20)


def test_a_frame_that_was_prepared_for_another_model_is_prepared_again():
    old, new = Engine().steps(copy=False), Engine().steps(copy=False)
    frame = gray(30)
    old.prepare(frame)
    frame.work.tensor[:] = 99
    assert mean(new.decode(new.run(frame))) == 30


def test_a_tensor_stays_valid_while_two_more_frames_are_prepared():
    steps = Engine().steps(copy=True)
    ahead = [gray(level) for level in range(3)]
    for frame in ahead:
        steps.prepare(frame)
    assert [mean(steps.decode(steps.run(frame))) for frame in ahead] == [0, 1, 2]
