"""InferenceSupervisor rebuilds a backend that hangs or fails, and disables a single failing head."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge_app import config
from edge_app.backoff import Backoff
from edge_app.config.reuse import OFF, ReuseConfig
from edge_app.errors import BackendError
from edge_app.frame import Frame
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.inference.supervisor import InferenceSupervisor
from edge_app.pipeline.timing import StageTimer
from tests import plugins

TEXT = """
source: {type: synthetic}
model: {path: PROJECT/models/digits, backend: mischief}
"""


@pytest.fixture
def mischief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Set the behavior of the test backend. At the end of the test it no longer hangs."""
    plugins.install()
    path = tmp_path / "mischief"
    monkeypatch.setenv("MISCHIEF", str(path))

    def set_behavior(word: str) -> None:
        temporary = path.with_suffix(".new")
        temporary.write_text(word, encoding="ascii")
        temporary.replace(path)

    set_behavior("good")
    yield set_behavior
    set_behavior("good")
    time.sleep(0.1)


@pytest.fixture
def settings(config_file, mischief) -> config.Config:
    return config.load(config_file(TEXT))


def supervisor(
    settings: config.Config, deadline_s: float | None = 0.3, reuse: ReuseConfig = OFF
) -> InferenceSupervisor:
    def open_model() -> Inference:
        backend = open_backend(settings.manifest, settings.model)
        tolerant = deadline_s is not None
        return Inference(settings.manifest, backend, settings.heads, tolerant=tolerant, fused=False, reuse=reuse)

    return InferenceSupervisor(open_model, StageTimer().timed, deadline_s, backoff=Backoff(0.01, 0.05))


def infer(running: InferenceSupervisor, number: int, within_s: float = 5.0) -> Frame | None:
    """Run one frame. Returns None if it was lost."""
    end_s = time.monotonic() + within_s
    while running.wait_s() > 0:
        time.sleep(0.01)
    running.submit(Frame("camera", number, number * 10**8, 0, np.zeros((240, 320, 3), np.uint8)))
    while running.busy and time.monotonic() < end_s:
        frame = running.result(0.05)
        if frame is not None:
            return frame
    return None


def test_a_hung_backend_is_rebuilt_and_its_frame_lost(settings, mischief):
    running = supervisor(settings)
    assert infer(running, 1).heads.keys() == {"digits", "panel", "scene"}
    mischief("hang")
    began = time.monotonic()
    assert infer(running, 2) is None
    assert 0.25 < time.monotonic() - began < 1.0
    assert running.problem == "no answer for 0.3 s"
    assert running.stuck() is None or "failed" in running.stuck()
    mischief("good")
    assert infer(running, 3) is not None
    assert running.problem is None
    assert running.stuck() is None
    assert running.rebuilt == 1
    running.close()


def test_a_hung_thread_ends_once_its_call_returns(settings, mischief):
    before = threading.active_count()
    running = supervisor(settings, deadline_s=1.0)  # long enough to load the model again
    mischief("hang")
    assert infer(running, 1) is None
    mischief("good")
    assert infer(running, 2) is not None
    running.close()
    end_s = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end_s:
        time.sleep(0.02)
    assert threading.active_count() == before


def test_a_backend_that_fails_is_retried_until_it_can_be_built(settings, mischief):
    running = supervisor(settings)
    infer(running, 1)
    mischief("fail")
    assert [infer(running, number) for number in (2, 3, 4)] == [None] * 3
    assert "made to fail" in running.problem
    assert running.heads() == {"digits": False, "panel": False, "scene": False}
    time.sleep(0.35)
    assert "inference has failed for" in running.stuck()
    mischief("good")
    assert infer(running, 5) is not None
    assert running.rebuilt == 3
    assert running.stuck() is None
    running.close()


def test_too_many_hung_threads_raise(settings, mischief):
    running = supervisor(settings, deadline_s=0.1)
    mischief("hang")
    for number in range(3):
        infer(running, number)
    with pytest.raises(BackendError, match="only a new process helps"):
        infer(running, 4)
    assert running.rebuilt == 4


def test_disabled_heads_stay_disabled_across_a_rebuild(settings, mischief):
    running = supervisor(settings)
    running.set_enabled("panel", False)
    running.degrade({"scene"})
    mischief("fail")
    infer(running, 1)
    mischief("good")
    assert infer(running, 2).heads.keys() == {"digits"}
    running.degrade(())
    assert infer(running, 3).heads.keys() == {"digits", "scene"}
    running.close()


def test_relaxed_reuse_survives_a_rebuild_and_is_restored(settings, mischief):
    running = supervisor(settings, reuse=ReuseConfig(mode="gate"))
    assert running.reuses
    running.degrade((), relax_reuse=True)
    infer(running, 1)
    assert running.reuse_stats()["eased"]
    mischief("fail")
    infer(running, 2)
    infer(running, 10**4)  # older than max_age_s, so that inference has to run
    assert running.reuse_stats() == {}
    running.degrade((), relax_reuse=False)  # while there is no model
    running.degrade((), relax_reuse=True)
    mischief("good")
    infer(running, 10**4 + 1)
    assert running.reuse_stats()["eased"]
    running.degrade(())
    infer(running, 10**4 + 2)
    assert not running.reuse_stats()["eased"]
    running.close()


def test_relaxing_has_no_effect_without_reuse(settings, mischief):
    running = supervisor(settings)
    assert not running.reuses
    running.degrade((), relax_reuse=True)
    assert infer(running, 1) is not None
    assert running.reuse_stats() == {}
    running.close()


def test_a_failing_head_is_disabled_and_the_others_continue(settings, mischief, caplog):
    running = supervisor(settings)
    mischief("fail panel")
    for number in range(1, 4):
        assert infer(running, number).heads.keys() == {"digits", "scene"}
    assert running.heads() == {"digits": True, "panel": False, "scene": True}
    assert running.failed_heads() == {"panel": "BackendError: panel: made to fail"}
    assert "head 'panel' failed 3 times in a row; disabling it" in caplog.text
    running.degrade({"scene"})
    running.degrade(())
    assert not running.heads()["panel"], "degradation must not enable a failed head"
    mischief("good")
    running.set_enabled("panel", True)
    assert infer(running, 5).heads.keys() == {"digits", "panel", "scene"}
    assert running.failed_heads() == {}
    running.close()


def test_without_a_deadline_failures_are_raised(settings, mischief):
    running = supervisor(settings, deadline_s=None)
    mischief("fail")
    with pytest.raises(BackendError, match="made to fail"):
        infer(running, 1)
    running.close()
