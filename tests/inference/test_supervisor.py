"""A backend that hangs or fails is left behind and built anew; a head that fails is switched off alone."""

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
from edge_app.inference.stage import Inference, open_backend
from edge_app.inference.supervisor import InferenceSupervisor
from edge_app.pipeline.timing import StageTimer
from tests import plugins

TEXT = """
source: {type: synthetic}
model: {path: PROJECT/models/digits, backend: mischief}
"""


@pytest.fixture
def mischief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write what the backend is to do; at the end nothing hangs any more."""
    plugins.install()
    path = tmp_path / "mischief"
    monkeypatch.setenv("MISCHIEF", str(path))

    def tell(word: str) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(word, encoding="ascii")
        fresh.replace(path)

    tell("good")
    yield tell
    tell("good")
    time.sleep(0.1)


@pytest.fixture
def settings(config_file, mischief) -> config.Config:
    return config.load(config_file(TEXT))


def engine(settings: config.Config, deadline_s: float | None = 0.3, reuse: ReuseConfig = OFF) -> InferenceSupervisor:
    def open_model() -> Inference:
        backend = open_backend(settings.manifest, settings.model)
        tolerant = deadline_s is not None
        return Inference(settings.manifest, backend, settings.heads, tolerant=tolerant, fused=False, reuse=reuse)

    return InferenceSupervisor(open_model, StageTimer().timed, deadline_s, backoff=Backoff(0.01, 0.05))


def passes(running: InferenceSupervisor, number: int, within_s: float = 5.0) -> Frame | None:
    """Send one frame through, and wait until it came out or was lost."""
    end_s = time.monotonic() + within_s
    while running.wait_s() > 0:
        time.sleep(0.01)
    running.submit(Frame("camera", number, number * 10**8, 0, np.zeros((240, 320, 3), np.uint8)))
    while running.busy and time.monotonic() < end_s:
        frame = running.result(0.05)
        if frame is not None:
            return frame
    return None


def test_a_backend_that_hangs_is_built_anew_and_the_frame_is_lost(settings, mischief):
    running = engine(settings)
    assert passes(running, 1).heads.keys() == {"digits", "panel", "scene"}
    mischief("hang")
    began = time.monotonic()
    assert passes(running, 2) is None
    assert 0.25 < time.monotonic() - began < 1.0
    assert running.problem == "no answer for 0.3 s"
    assert running.stuck() is None or "failed" in running.stuck()
    mischief("good")
    assert passes(running, 3) is not None
    assert running.problem is None
    assert running.stuck() is None
    assert running.rebuilt == 1
    running.close()


def test_a_hung_thread_ends_when_it_returns(settings, mischief):
    before = threading.active_count()
    running = engine(settings, deadline_s=1.0)  # the model is loaded anew within it
    mischief("hang")
    assert passes(running, 1) is None
    mischief("good")
    assert passes(running, 2) is not None
    running.close()
    end_s = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end_s:
        time.sleep(0.02)
    assert threading.active_count() == before


def test_a_backend_that_fails_is_retried_until_it_can_be_built(settings, mischief):
    running = engine(settings)
    passes(running, 1)
    mischief("fail")
    assert [passes(running, number) for number in (2, 3, 4)] == [None] * 3
    assert "made to fail" in running.problem
    assert running.heads() == {"digits": False, "panel": False, "scene": False}
    time.sleep(0.35)
    assert "inference has failed for" in running.stuck()
    mischief("good")
    assert passes(running, 5) is not None
    assert running.rebuilt == 3
    assert running.stuck() is None
    running.close()


def test_beyond_a_few_hung_threads_only_a_new_process_helps(settings, mischief):
    running = engine(settings, deadline_s=0.1)
    mischief("hang")
    for number in range(3):
        passes(running, number)
    with pytest.raises(BackendError, match="only a new process helps"):
        passes(running, 4)
    assert running.rebuilt == 4


def test_switches_survive_a_rebuild(settings, mischief):
    running = engine(settings)
    running.set_enabled("panel", False)
    running.shed({"scene"})
    mischief("fail")
    passes(running, 1)
    mischief("good")
    assert passes(running, 2).heads.keys() == {"digits"}
    running.shed(())
    assert passes(running, 3).heads.keys() == {"digits", "scene"}
    running.close()


def test_reuse_that_was_eased_is_so_across_a_rebuild_and_goes_back(settings, mischief):
    running = engine(settings, reuse=ReuseConfig(mode="gate"))
    assert running.reuses
    running.shed((), ease_reuse=True)
    passes(running, 1)
    assert running.reuse_stats()["eased"]
    mischief("fail")
    passes(running, 2)
    passes(running, 10**4)  # behind the age that is allowed, so that it has to run
    assert running.reuse_stats() == {}
    running.shed((), ease_reuse=False)  # while there is no model
    running.shed((), ease_reuse=True)
    mischief("good")
    passes(running, 10**4 + 1)
    assert running.reuse_stats()["eased"]
    running.shed(())
    passes(running, 10**4 + 2)
    assert not running.reuse_stats()["eased"]
    running.close()


def test_without_reuse_there_is_none_to_ease(settings, mischief):
    running = engine(settings)
    assert not running.reuses
    running.shed((), ease_reuse=True)
    assert passes(running, 1) is not None
    assert running.reuse_stats() == {}
    running.close()


def test_a_head_that_fails_is_switched_off_and_the_others_go_on(settings, mischief, caplog):
    running = engine(settings)
    mischief("fail panel")
    for number in range(1, 4):
        assert passes(running, number).heads.keys() == {"digits", "scene"}
    assert running.heads() == {"digits": True, "panel": False, "scene": True}
    assert running.failed_heads() == {"panel": "BackendError: panel: made to fail"}
    assert "head 'panel' failed 3 times in a row and is switched off" in caplog.text
    running.shed({"scene"})
    running.shed(())
    assert not running.heads()["panel"], "the ladder does not switch a failing head on"
    mischief("good")
    running.set_enabled("panel", True)
    assert passes(running, 5).heads.keys() == {"digits", "panel", "scene"}
    assert running.failed_heads() == {}
    running.close()


def test_a_replay_is_told_of_every_failure(settings, mischief):
    running = engine(settings, deadline_s=None)
    mischief("fail")
    with pytest.raises(BackendError, match="made to fail"):
        passes(running, 1)
    running.close()
