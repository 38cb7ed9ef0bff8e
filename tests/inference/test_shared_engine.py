"""One engine for several cameras: each graph is loaded once, and released when its last user is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_app.backends import Graph
from edge_app.config import ModelConfig
from edge_app.errors import BackendError
from edge_app.inference.engine import open_backend
from edge_app.inference.scheduler import Scheduler
from edge_app.inference.shared_engine import EngineShare, SharedEngines
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from tests.conftest import PROJECT

DIGITS = PROJECT / "models/digits"


class Counted:
    """Counts what is loaded and closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.loaded: list[Path] = []

    def open(self, found: manifest.Manifest, model: ModelConfig):
        self.opened += 1
        backend = open_backend(found, model)
        load = backend.load

        def counted(graph: Graph, keep=()):
            self.loaded.append(graph.path)
            return load(graph, keep)

        backend.load = counted
        return backend


@pytest.fixture
def digits() -> manifest.Manifest:
    return manifest.load(DIGITS)


MODEL = ModelConfig(DIGITS, "onnx")


def test_a_graph_is_loaded_once_for_all_cameras(digits):
    counted = Counted()
    engines = SharedEngines(Scheduler(), counted.open)
    leases = [engines.lease(digits, MODEL) for _ in range(3)]
    sessions = [lease.load(digits.backbone_graphs("onnx")[0], ["c8"]) for lease in leases]
    assert counted.opened == 1
    assert len(counted.loaded) == 1
    image = np.zeros(digits.input.shape, digits.input.dtype)
    feeds = {sessions[0].inputs[0].name: image}
    sessions[0].close()
    sessions[0].close()
    assert sessions[1].run(feeds).keys() == sessions[2].run(feeds).keys()
    for lease in leases:
        lease.close()
    with pytest.raises(BackendError, match="closed"):
        sessions[2].run(feeds)


def test_the_engine_is_opened_again_after_the_last_camera_has_left(digits):
    counted = Counted()
    engines = SharedEngines(Scheduler(), counted.open)
    first = engines.lease(digits, MODEL)
    first.close()
    first.close()
    assert engines.lease(digits, MODEL).version.startswith("onnxruntime")
    assert counted.opened == 2


def test_other_options_have_another_engine(digits):
    counted = Counted()
    engines = SharedEngines(Scheduler(), counted.open)
    engines.lease(digits, MODEL)
    engines.lease(digits, ModelConfig(DIGITS, "onnx", threads=2))
    assert counted.opened == 2


def test_two_cameras_give_the_results_of_one(digits):
    engines = SharedEngines(Scheduler())
    shares = [EngineShare(engines, 0, lambda: None) for _ in range(2)]
    heads = _heads(digits)
    image = np.full(digits.input.shape, 90, digits.input.dtype)
    alone = Inference(digits, open_backend(digits, MODEL), heads)
    both = [Inference(digits, share.open_backend(digits, MODEL), heads) for share in shares]
    expected = alone.outputs(image)
    for each in both:
        for head, outputs in each.outputs(image).items():
            for name, value in outputs.items():
                np.testing.assert_array_equal(value, expected[head][name])
    both[0].close()
    assert both[1].outputs(image).keys() == expected.keys()
    both[1].close()
    alone.close()


def test_an_engine_that_hangs_is_given_up_for_all(digits):
    counted = Counted()
    engines = SharedEngines(Scheduler(), counted.open)
    shares = [EngineShare(engines, 0, lambda: None) for _ in range(2)]
    for share in shares:
        share.open_backend(digits, MODEL)
    shares[0].record_failure(hung=True, attempt=0)
    assert shares[1].retired
    shares[0].open_backend(digits, MODEL)
    shares[1].open_backend(digits, MODEL)
    assert not shares[0].retired
    assert not shares[1].retired
    assert counted.opened == 2


def test_the_first_error_of_one_camera_leaves_the_engine_to_the_others(digits):
    engines = SharedEngines(Scheduler())
    share = EngineShare(engines, 0, lambda: None)
    share.open_backend(digits, MODEL)
    share.record_failure(hung=False, attempt=0)
    assert not share.retired
    share.record_failure(hung=False, attempt=1)
    assert share.retired


@pytest.mark.parametrize(("parallel", "slots"), [(None, 1), (1, 1)])
def test_a_cpu_runs_one_camera_at_a_time_unless_configured(digits, parallel, slots):
    scheduler = Scheduler()
    SharedEngines(scheduler).lease(digits, ModelConfig(DIGITS, "onnx", parallel=parallel))
    assert scheduler.slots == slots


def _heads(digits: manifest.Manifest):
    from edge_app.config import HeadCommon, HeadConfig

    return {name: HeadConfig(HeadCommon(), spec.options) for name, spec in digits.heads.items()}
