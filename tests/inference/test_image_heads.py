"""Heads without a network: when they run, what they reuse, and what becomes of a failure."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.config.reuse import OFF, ReuseConfig
from edge_app.errors import ModelError
from edge_app.frame import Frame, HeadOutput
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from edge_app.model.manifest import Manifest, image_head, without_model
from tests.conftest import PROJECT
from tests.heads.printed import code, in_scene

DIGITS = PROJECT / "models/digits"
GATE = ReuseConfig(mode="gate", max_age_s=30.0)


def scene(text: str = "hello") -> np.ndarray:
    """A code in a gray image (240, 320, 3)."""
    image = np.full((240, 320), 200, np.uint8)
    printed, _ = in_scene(code(text, "QRCode", 4))
    side = min(len(printed), 240)
    image[:side, 40 : 40 + side] = printed[:side, :side]
    return np.repeat(image[..., None], 3, axis=2)


def frame(at_s: float, image: np.ndarray) -> Frame:
    return Frame("t", 0, round(at_s * 1e9), 0, image)


def opened(common: HeadCommon | None = None, reuse: ReuseConfig = OFF, tolerant: bool = False, loaded=None, others=()):
    """An inference stage with the head `codes`. loaded: with this model; others: the heads of it that run."""
    loaded = loaded or without_model()
    loaded = replace(loaded, heads={**loaded.heads, "codes": image_head("codes", "codes")})
    heads = {"codes": HeadConfig(common or HeadCommon(), {"kinds": ("qr",)})}
    heads |= {name: HeadConfig(HeadCommon(), loaded.heads[name].options) for name in others}
    backend = open_backend(loaded, ModelConfig(loaded.folder))
    return closing(Inference(loaded, backend, heads, reuse=reuse, tolerant=tolerant))


def read(inference: Inference, given: Frame) -> HeadOutput | None:
    return inference.infer(given).heads.get("codes")


def test_runs_without_a_model():
    with opened() as inference:
        output = read(inference, frame(0, scene()))
        assert output.result.texts == ("hello",)
        assert output.fresh
        assert inference.backend == "no engine"
        assert not inference.reuses


def test_runs_beside_the_heads_of_a_model():
    loaded: Manifest = manifest.load(DIGITS)
    with opened(loaded=loaded, others=loaded.heads) as inference:
        assert inference.overlapped() is None
        heads = inference.infer(frame(0, scene())).heads
        assert heads.keys() == {"codes", *loaded.heads}
        assert heads["codes"].result.texts == ("hello",)


def test_nv12_is_read_from_its_luma():
    gray = scene()[..., 0]
    nv12 = np.concatenate([gray, np.full((120, 320), 128, np.uint8)])
    with opened() as inference:
        output = read(inference, Frame("t", 0, 0, 0, nv12, "nv12"))
        assert output.result.texts == ("hello",)


def test_every_s_is_the_shortest_interval():
    with opened(HeadCommon(every_s=1.0)) as inference:
        assert read(inference, frame(0, scene("a"))).result.texts == ("a",)
        held = read(inference, frame(0.5, scene("b")))
        assert (held.result.texts, held.reused, held.age_ns) == (("a",), "held", 500_000_000)
        assert read(inference, frame(1.0, scene("b"))).result.texts == ("b",)


@pytest.mark.parametrize("tolerance", [None, 0.0])
def test_does_not_run_while_the_image_is_unchanged(monkeypatch: pytest.MonkeyPatch, tolerance: float | None):
    runs = count_runs(monkeypatch)
    noise = np.random.default_rng(0)
    with opened(reuse=replace(GATE, tolerance=tolerance)) as inference:
        for i in range(10):
            image = scene("a" if i < 5 else "b")
            if tolerance is None:
                image = np.clip(image + noise.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
            output = read(inference, frame(i / 10, image))
            assert output.result.texts == (("a",) if i < 5 else ("b",))
            assert output.fresh
            assert output.age_ns == i % 5 * 100_000_000
    assert len(runs) == 2


def test_on_change_false_runs_on_every_frame(monkeypatch: pytest.MonkeyPatch):
    runs = count_runs(monkeypatch)
    with opened(HeadCommon(on_change=False), GATE) as inference:
        for i in range(3):
            read(inference, frame(i / 10, scene()))
    assert len(runs) == 3


def test_a_result_is_not_reused_beyond_max_age(monkeypatch: pytest.MonkeyPatch):
    runs = count_runs(monkeypatch)
    with opened(HeadCommon(max_age_s=1.0), GATE) as inference:
        for at_s in (0, 0.5, 1.0, 1.5, 0.0):  # then the clock goes back
            read(inference, frame(at_s, scene()))
        assert len(runs) == 3
        inference.relax(True)
        read(inference, frame(3.5, scene()))
    assert len(runs) == 3


def test_a_change_while_it_was_not_due_is_seen_later():
    with opened(HeadCommon(every_s=1.0), GATE) as inference:
        read(inference, frame(0, scene("a")))
        read(inference, frame(0.5, scene("b")))
        assert read(inference, frame(1.0, scene("b"))).result.texts == ("b",)


def test_refresh_and_another_frame_size_run_it(monkeypatch: pytest.MonkeyPatch):
    runs = count_runs(monkeypatch)
    with opened(reuse=GATE) as inference:
        read(inference, frame(0, scene()))
        inference.refresh()
        read(inference, frame(0.1, scene()))
        read(inference, frame(0.2, np.ascontiguousarray(scene()[:, :300])))
    assert len(runs) == 3


def test_polygons_and_labels_filter_its_detections():
    everything = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    with opened(HeadCommon(ignore=(everything,))) as inference:
        assert len(read(inference, frame(0, scene())).result) == 0


def test_it_is_disabled_and_enabled():
    with opened() as inference:
        inference.set_enabled("codes", False)
        assert read(inference, frame(0, scene())) is None
        assert inference.enabled() == {"codes": False}
        inference.set_enabled("codes", True)
        assert read(inference, frame(1, scene())).result.texts == ("hello",)
        inference.reconfigure("codes", HeadConfig(HeadCommon(), {"kinds": ("aztec",)}))
        assert len(read(inference, frame(2, scene())).result) == 0


def test_a_head_that_keeps_failing_is_disabled(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    fail(monkeypatch)
    with opened(tolerant=True) as inference:
        for i in range(3):
            assert read(inference, frame(i, scene())) is None
        assert inference.enabled() == {"codes": False}
        assert inference.failed() == {"codes": "ModelError: broken"}
    assert "head 'codes' failed 3 times in a row; disabling it: broken" in caplog.text


def test_a_failure_is_raised_in_a_replay(monkeypatch: pytest.MonkeyPatch):
    fail(monkeypatch)
    with opened() as inference, pytest.raises(ModelError, match="broken"):
        read(inference, frame(0, scene()))


def test_check_runs_the_heads(monkeypatch: pytest.MonkeyPatch):
    runs = count_runs(monkeypatch)
    with opened() as inference:
        inference.check_decoders(np.zeros((1, 3, 320, 320), np.float32))
    assert len(runs) == 1


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each run of the head."""
    from edge_app.heads.codes import Head

    runs: list[int] = []
    decode = Head.decode
    monkeypatch.setattr(Head, "decode", lambda self, *given: runs.append(1) or decode(self, *given))
    return runs


def fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_app.heads.codes import Head

    def broken(self, outputs, transform):
        raise ModelError("broken")

    monkeypatch.setattr(Head, "decode", broken)
