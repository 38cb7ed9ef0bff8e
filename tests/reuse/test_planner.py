"""The planner within the inference stage: which answer a frame gets, and that its results are correct."""

from __future__ import annotations

import shutil
import weakref
from contextlib import closing

import numpy as np
import pytest
import yaml

from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.config.reuse import ReuseConfig
from edge_app.inference.engine import open_backend
from edge_app.inference.graphs import Network
from edge_app.inference.stage import Inference
from edge_app.model.manifest import FILE, load
from edge_app.reuse import profile
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.profile import ReuseProfile
from tests.reuse import models

SIZE = (320, 320)
SEGMENTS = ("backbone0", "backbone1", "backbone2", "head digits", "head panel", "head scene")
CHEAP = Costs(10.0, {name: Cost(0.0, 10 / 6) for name in SEGMENTS}, 0.01, 0.01)  # in proportion to the area
CHEAP_PARTS = Costs(10.0, {name: Cost(0.05, 0.6) for name in SEGMENTS}, 0.01, 0.01)
DEAR = Costs(10.0, {name: Cost(10.0, 10.0) for name in SEGMENTS}, 0.01, 0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.compiled("digits", tmp_path_factory.mktemp("models"))


def opened(folder, costs=CHEAP, common=None, **reuse) -> Inference:
    manifest = load(folder)
    heads = {
        name: HeadConfig((common or {}).get(name, HeadCommon()), spec.options) for name, spec in manifest.heads.items()
    }
    backend = open_backend(manifest, ModelConfig(folder, "onnx", 1))
    inference = Inference(manifest, backend, heads, reuse=ReuseConfig(**reuse))
    inference.use_costs(costs)
    return inference


def still(count, seed=0, sigma=2.0, scene=None):
    rng = np.random.default_rng(seed)
    scene = models.picture(5, SIZE) if scene is None else scene
    for _ in range(count):
        yield np.clip(scene + np.rint(rng.normal(0, sigma, scene.shape)), 0, 255).astype(np.uint8)


def moving(count, seed=0):
    for i, image in enumerate(still(count, seed)):
        x = 16 + 8 * i % 240
        image[120:160, x : x + 32] = 230
        yield image


def answers(inference):
    stats = inference.reuse_stats()
    return {name: stats[name] for name in ("gate", "heads", "partial", "dense", "carried")}


def run(inference, images, fps=10.0):
    return [inference.infer(frame).heads for frame in models.frames(images, fps)]


def test_mode_off_computes_every_frame(folder):
    with closing(opened(folder, mode="off")) as inference:
        heads = run(inference, still(5))
        assert inference.reuse_stats() == {}
    assert all(output.age_ns == 0 and output.reused == "" for frame in heads for output in frame.values())


@pytest.mark.parametrize("mode", ["gate", "auto"])
def test_a_still_scene_is_computed_once_and_results_carry_their_age(folder, mode):
    with closing(opened(folder, mode=mode)) as inference:
        heads = run(inference, still(20))
        assert answers(inference) == {"gate": 19, "heads": 0, "partial": 0, "dense": 1, "carried": 0}
    for i, frame in enumerate(heads[1:], 1):
        for output in frame.values():
            assert output.age_ns == pytest.approx(i * 1e8)
            assert output.reused == "result"
            assert output.fresh


def test_a_moving_object_is_computed_in_part(folder):
    with closing(opened(folder)) as inference:
        heads = run(inference, moving(8))
        counts = answers(inference)
    assert counts["partial"] == 7
    assert counts["dense"] == 1
    assert heads[-1]["digits"].reused == "features"
    assert heads[-1]["digits"].fresh


def test_partial_frames_are_followed_by_a_dense_one_at_times(folder):
    """Small errors that partial frames leave in the features must not persist. With assumed costs, a frame is dense."""
    costs = Costs(10.0, {name: Cost(0.5, 0.5) for name in SEGMENTS}, 0.01, 0.01, assumed=True)
    with closing(opened(folder, costs=costs)) as inference:
        heads = run(inference, moving(120))
        counts = answers(inference)
    assert 5 <= counts["dense"] <= 14
    assert counts["partial"] == 120 - counts["dense"]
    assert 0.5 < max(output.age_ns for frame in heads for output in frame.values()) / 1e9 < 2


def test_with_measured_costs_the_refresh_is_rolling_within_its_share_of_the_time(folder):
    with closing(opened(folder, costs=CHEAP_PARTS, max_age_s=4.0, refresh_share=0.1)) as inference:
        features, refreshed_ms, ages = inference._reuse._network.features, [], []
        for frame in models.frames(moving(100)):
            heads = inference.infer(frame).heads
            refreshed_ms.append(features.refreshed_ms)
            ages += [output.age_ns for output in heads.values()]
        counts = answers(inference)
    assert counts["dense"] == 1, "only the first frame"
    assert max(ages) <= 4e9
    assert 0 < np.mean(refreshed_ms) <= 0.1 * CHEAP_PARTS.dense
    assert max(refreshed_ms) < CHEAP_PARTS.dense / 2


def test_expensive_partial_frames_are_followed_by_a_dense_one_instead(folder):
    costs = Costs(10.0, {name: Cost(0.9, 0.5) for name in SEGMENTS}, 0.01, 0.01)
    with closing(opened(folder, costs=costs)) as inference:
        run(inference, moving(40))
        counts = answers(inference)
    assert 2 <= counts["dense"] <= 6
    assert counts["partial"] == 40 - counts["dense"]


def test_some_partial_frames_are_computed_in_full_too_and_their_agreement_is_reported(folder):
    images = list(moving(80))
    with closing(opened(folder, costs=CHEAP_PARTS)) as inference, closing(opened(folder, mode="off")) as full:
        found, expected = run(inference, images), run(full, images)
        evidence = inference.reuse_stats()["agreement"]
    assert evidence["checks"] == 2
    assert evidence["loss"] is not None
    checked = [i for i, frame in enumerate(found) if all(output.age_ns == 0 for output in frame.values())]
    assert [i for i in checked if i] == [24, 72]
    for i in checked:
        assert np.allclose(found[i]["digits"].result.score, expected[i]["digits"].result.score, atol=1e-4)


def test_without_tolerance_reuse_equals_full_inference(folder):
    images = list(moving(12))
    for i in range(1, len(images), 3):
        images[i] = images[i - 1]  # some frames are repeated
    for i in range(2, len(images)):
        images[i][:100] = images[0][:100]  # and parts of the image do not change
        images[i][200:] = images[0][200:]
    with closing(opened(folder, mode="auto", tolerance=0)) as inference, closing(opened(folder, mode="off")) as full:
        for found, expected in zip(run(inference, images), run(full, images)):
            for name, output in expected.items():
                for field in ("xyxy", "score", "class_id"):
                    if hasattr(output.result, field):
                        a, b = getattr(found[name].result, field), getattr(output.result, field)
                        assert a.shape == b.shape
                        assert np.allclose(a, b, rtol=1e-4, atol=1e-4)
        counts = answers(inference)
    assert counts["gate"] + counts["partial"] >= 6, counts


def test_frames_are_dense_if_partial_computation_costs_more(folder):
    with closing(opened(folder, costs=DEAR)) as inference:
        run(inference, moving(12))
        assert answers(inference)["partial"] == 0


def test_a_replay_repeats_the_decisions(folder):
    counts = []
    for _ in range(2):
        with closing(opened(folder)) as inference:
            run(inference, [*still(3), *moving(30), *still(5, 3)])
            stats = inference.reuse_stats()
            counts.append((answers(inference), stats["agreement"], stats["share"]))
    assert counts[0] == counts[1]
    assert counts[0][1]["checks"] == 1


def test_no_result_exceeds_max_age_and_the_refresh_is_rolling(folder):
    with closing(opened(folder, mode="auto", max_age_s=3.0)) as inference:
        heads = run(inference, still(150))
        counts = answers(inference)
    ages = [output.age_ns / 1e9 for frame in heads for output in frame.values()]
    assert max(ages) <= 3.0
    assert max(ages) >= 2.0
    assert counts["dense"] == 1, "tiles are refreshed one by one, not all at once"


def test_no_result_exceeds_max_age_in_gate_mode(folder):
    with closing(opened(folder, mode="gate", max_age_s=1.0)) as inference:
        heads = run(inference, still(50))
        assert answers(inference)["dense"] == 5
    assert max(output.age_ns for frame in heads for output in frame.values()) <= 1e9


def test_a_head_may_lower_max_age(folder):
    with closing(opened(folder, mode="gate", common={"digits": HeadCommon(max_age_s=0.5)})) as inference:
        heads = run(inference, still(30))
    assert max(frame["digits"].age_ns for frame in heads) <= 5e8


def test_frames_further_apart_than_max_age_are_dense(folder):
    with closing(opened(folder, max_age_s=1.0)) as inference:
        run(inference, still(5), fps=0.5)
        assert answers(inference)["dense"] == 5


def test_frames_are_dense_after_the_clock_went_back(folder):
    with closing(opened(folder)) as inference:
        for frame in reversed(list(models.frames(still(4)))):
            inference.infer(frame)
        assert answers(inference)["dense"] == 4


def test_a_requested_refresh_makes_the_next_frame_dense(folder):
    with closing(opened(folder)) as inference:
        first, second, third = models.frames(still(3))
        inference.infer(first)
        inference.infer(second)
        inference.refresh()
        assert all(output.age_ns == 0 for output in inference.infer(third).heads.values())
        assert answers(inference)["dense"] == 2


def test_a_cut_and_a_change_of_exposure_are_dense(folder):
    other = list(still(3, scene=models.picture(77, SIZE)))
    darker = [(image * 0.7).astype(np.uint8) for image in other]
    with closing(opened(folder)) as inference:
        run(inference, [*still(3), *other, *darker])
        counts = answers(inference)
    assert counts["dense"] == 3
    assert counts["gate"] == 6


def test_a_head_with_an_interval_is_held_and_then_runs_on_all_changes(folder):
    common = {"scene": HeadCommon(every_s=0.5), "panel": HeadCommon(every_s=0.5)}
    images = list(moving(12))
    with (
        closing(opened(folder, common=common, tolerance=0)) as inference,
        closing(opened(folder, mode="off")) as full,
    ):
        found, expected = run(inference, images), run(full, images)
    ran = [i for i, frame in enumerate(found) if frame["scene"].fresh]
    assert ran == [0, 5, 10]
    assert all(found[i]["scene"].reused == "held" for i in range(12) if i not in ran)
    for i in ran:
        assert np.allclose(found[i]["scene"].result.score, expected[i]["scene"].result.score, atol=1e-4)
        assert len(found[i]["panel"].result.polygons) == len(expected[i]["panel"].result.polygons)


def test_a_head_without_on_change_runs_although_nothing_changed(folder):
    with closing(opened(folder, common={"scene": HeadCommon(on_change=False)})) as inference:
        run(inference, still(10))
        counts = answers(inference)
    assert counts["heads"] == 9


def test_a_head_that_is_enabled_again_has_a_result_at_once(folder):
    with closing(opened(folder)) as inference:
        frames = list(models.frames(still(4)))
        inference.infer(frames[0])
        inference.set_enabled("digits", False)
        assert "digits" not in inference.infer(frames[1]).heads
        inference.set_enabled("digits", True)
        assert "digits" in inference.infer(frames[2]).heads


def test_outputs_are_released_after_all_heads_have_run(folder, monkeypatch):
    outputs = []
    run_network = Network.run

    def record(network, tensor):
        outputs_of = run_network(network, tensor)
        outputs.append(weakref.ref(outputs_of))
        return outputs_of

    monkeypatch.setattr(Network, "run", record)
    first, *others = models.frames(still(6))
    with closing(opened(folder, mode="gate", common={"scene": HeadCommon(every_s=0.3)})) as inference:
        inference.infer(first)
        assert outputs[-1]() is None
        inference.set_enabled("panel", False)
        inference.set_enabled("panel", True)
        assert "panel" in inference.infer(others[0]).heads  # computed again
        assert len(outputs) == 2
        assert outputs[-1]() is not None  # `scene` was not due and still needs them
        for frame in others[1:]:
            inference.infer(frame)
        assert outputs[-1]() is None
        assert answers(inference) == {"gate": 3, "heads": 1, "partial": 0, "dense": 2, "carried": 0}


def test_results_are_marked_held_when_the_budget_is_spent(folder):
    with closing(opened(folder, budget_ms=2.5, tolerance=0)) as inference:
        heads = run(inference, still(40))  # every pixel changes, so every frame would be dense
        counts = answers(inference)
    assert counts["dense"] == pytest.approx(10, abs=2)  # of 10 ms each
    assert counts["carried"] == 40 - counts["dense"]
    held = [frame for frame in heads if frame["digits"].reused == "held"]
    assert len(held) == counts["carried"]
    assert not any(frame["digits"].fresh for frame in held)


def test_heads_of_higher_priority_run_first_under_a_budget(folder):
    common = {"digits": HeadCommon(priority=2), "panel": HeadCommon(priority=1), "scene": HeadCommon(every_s=0.001)}
    costs = Costs(10.0, {name: Cost(0.0, 4.0 if name.startswith("head") else 0.5) for name in SEGMENTS}, 0.01, 0.01)
    with closing(opened(folder, costs=costs, common=common, budget_ms=2.0)) as inference:
        heads = run(inference, moving(40))
    ran = {name: sum(frame[name].fresh and frame[name].reused != "result" for frame in heads) for name in common}
    assert ran["digits"] > ran["scene"]


def test_nothing_is_reused_if_the_profile_says_off(folder, tmp_path):
    manifest = load(folder)
    profile.save(profile.path(tmp_path, manifest), ReuseProfile(verdict="off", evidence={"agreement": 0.5}))
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in manifest.heads.items()}
    backend = open_backend(manifest, ModelConfig(folder, "onnx", 1))
    with closing(Inference(manifest, backend, heads, reuse=ReuseConfig(), state_dir=tmp_path)) as inference:
        run(inference, still(3))
        assert inference.reuse_stats() == {}


def test_a_model_without_receptive_fields_reuses_whole_results_only(tmp_path):
    folder = tmp_path / "digits"
    shutil.copytree(models.SHIPPED, folder, ignore=shutil.ignore_patterns("sample*"))
    manifest = yaml.safe_load((folder / FILE).read_text())
    del manifest["backbone"]["extents"]
    (folder / FILE).write_text(yaml.safe_dump(manifest))
    with closing(opened(folder, costs=Costs(10.0, {}))) as inference:
        run(inference, [*still(5), *moving(5)])
        counts = answers(inference)
    assert counts["gate"] >= 4
    assert counts["dense"] >= 5
