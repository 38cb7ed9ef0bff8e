"""Relaxed bounds: older results, a higher tolerance, fewer dense frames; and back to the configured bounds."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from edge_app.config.reuse import ReuseConfig
from edge_app.frame import Classification
from edge_app.reuse.crop_cache import CropCache
from edge_app.reuse.relaxation import AGE_FACTOR, relaxed
from tests.reuse import models
from tests.reuse.test_planner import CHEAP, DEAR, SIZE, answers, moving, opened, still


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.compiled("digits", tmp_path_factory.mktemp("models"))


def since(inference, before):
    """The answers after earlier ones."""
    return {name: count - before[name] for name, count in answers(inference).items()}


def test_max_age_is_relaxed_and_restored(folder):
    frames = list(models.frames(still(120)))
    with closing(opened(folder, mode="gate", max_age_s=1.0)) as inference:
        inference.relax(True)
        found = [inference.infer(frame).heads for frame in frames[:100]]
        during = answers(inference)
        assert inference.reuse_stats()["eased"]
        inference.relax(False)
        after = [inference.infer(frame).heads for frame in frames[100:]]
        later = since(inference, during)
        assert not inference.reuse_stats()["eased"]
    ages = [output.age_ns / 1e9 for frame in found for output in frame.values()]
    assert 1.0 < max(ages) <= AGE_FACTOR * 1.0
    assert during["dense"] == 3  # the first one, and one after each 4 s
    assert later["dense"] == 2
    assert max(output.age_ns for frame in after for output in frame.values()) <= 1e9


@pytest.mark.parametrize("mode", ["gate", "auto"])
def test_dense_frames_become_fewer_while_relaxed(folder, mode):
    frames = list(models.frames(moving(90)))
    with closing(opened(folder, costs=DEAR, mode=mode)) as inference:  # partial computation never pays
        for frame in frames[:30]:
            inference.infer(frame)
        before = answers(inference)
        inference.relax(True)
        carried = [inference.infer(frame).heads for frame in frames[30:60]]
        during = since(inference, before)
        inference.relax(False)
        for frame in frames[60:]:
            inference.infer(frame)
        assert since(inference, before)["carried"] == during["carried"]
    assert before["carried"] == 0
    assert during["dense"] == pytest.approx(10, abs=2)
    assert during["carried"] == 30 - during["dense"]
    held = [frame for frame in carried if frame["digits"].reused == "held"]
    assert len(held) == during["carried"], "marked held, so that the tracker moves their boxes"


def test_dense_frames_become_fewer_while_detection_pauses(folder):
    frames = list(models.frames(still(60, sigma=60.0)))  # everything changes, so detection pauses
    with closing(opened(folder, costs=DEAR)) as inference:
        for frame in frames[:40]:
            inference.infer(frame)
        before = answers(inference)
        inference.relax(True)
        for frame in frames[40:]:
            inference.infer(frame)
        during = since(inference, before)
    assert before["dense"] == 40
    assert during["dense"] == pytest.approx(20 / 3, abs=2)


def test_a_configured_budget_is_relaxed_too():
    assert relaxed(ReuseConfig(budget_ms=3.0), 10.0).budget_ms == pytest.approx(1.0)
    assert relaxed(ReuseConfig(), 12.0).budget_ms == pytest.approx(4.0)
    assert relaxed(ReuseConfig(budget_ms=60.0), 12.0).budget_ms == pytest.approx(4.0)


def gated(inference, images, count=10):
    """The number of recent frames for which the planner chose the gate."""
    frames = list(models.frames(images))
    for frame in frames[:-count]:
        inference.infer(frame)
    before = answers(inference)
    for frame in frames[-count:]:
        inference.infer(frame)
    return since(inference, before)["gate"]


@pytest.mark.parametrize(("wanted", "expected"), [(False, 0), (True, 10)])
def test_the_tolerance_is_relaxed(folder, wanted, expected):
    scene = models.picture(5, SIZE)
    brighter = scene.copy()
    brighter[96:160, 96:160] = np.clip(brighter[96:160, 96:160].astype(int) + 14, 0, 255)
    images = [*still(10, scene=scene, sigma=0), *(image for _ in range(5) for image in (brighter, scene))]
    with closing(opened(folder, costs=CHEAP, mode="gate", max_age_s=60)) as inference:
        inference.relax(wanted)
        assert gated(inference, images) == expected


def test_exact_reuse_stays_exact_while_relaxed(folder):
    images = [models.picture(5, SIZE) for _ in range(15)]
    for i, image in enumerate(images):
        image[100, 100 + i] ^= 1  # one gray level of one pixel, each time another one
    with closing(opened(folder, mode="gate", tolerance=0)) as inference:
        inference.relax(True)
        assert gated(inference, images) == 0


def test_crop_results_may_become_older_while_relaxed():
    crops = CropCache(max_age_ns=1000)
    box = np.array([100, 100, 160, 180], np.float32)
    crop = models.picture(1, (64, 64))
    crops.add(box, crop, Classification(np.array([1], np.int32), np.array([0.9], np.float32)), 0)
    crops.end_frame()
    assert crops.find(box, crop, 1500) is None
    crops.relax(True)
    assert crops.find(box, crop, 1500) is not None
    crops.end_frame()
    crops.relax(False)
    assert crops.find(box, crop, 1500) is None
