"""`edge-app check` finds a model whose parts differ from the whole, or crash."""

from __future__ import annotations

import re
from contextlib import closing

import numpy as np
import pytest

from edge_app import cli, config
from edge_app.cli import model_check
from edge_app.config.reuse import ReuseConfig
from edge_app.model import manifest
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.propagation import NEAR
from tests.reuse import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.compiled("digits", tmp_path_factory.mktemp("models"))


@pytest.fixture
def changed(folder):
    """Changes the text of model.yaml for one test."""
    path = folder / manifest.FILE
    before = path.read_text()

    def change(pattern, text):
        path.write_text(re.sub(pattern, text, before.split("\nsha256:")[0] + "\n"))
        return folder

    yield change
    path.write_text(before)


def findings(folder, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        f"device: {{id: t, state_dir: {tmp_path}}}\nsource: {{type: synthetic}}\nreuse: {{mode: auto}}\n"
        f"model: {{path: {folder}}}\nsinks: [{{type: memory}}]\n"
    )
    return [finding for finding in model_check.run(config.load(path)) if finding.area == "reuse"]


def test_parts_of_a_compiled_model_equal_the_whole(folder):
    with closing(models.inference(folder, reuse=ReuseConfig(mode="auto"))) as inference:
        assert inference.verify_reuse() <= 1e-4


@pytest.mark.parametrize("file", ["exports/gdconv.onnx", "exports/avg7.onnx", "mobilefacenet.onnx"])
def test_a_network_that_ends_in_a_kernel_as_large_as_its_map_runs_under_reuse(file, tmp_path):
    """Its last map depends on the whole image; the maps before it are computed in parts."""
    source = models.DATA / file
    if not source.exists():
        pytest.skip(f"{file} is not in $EDGE_APP_DATA")
    assert cli.main(["compile", str(source), "--out", str(tmp_path / "model"), "--family", "embed"]) == 0
    with closing(models.inference(tmp_path / "model", reuse=ReuseConfig(mode="auto", tolerance=0))) as inference:
        assert inference.verify_reuse() <= 1e-4
        segments = inference._reuse._network.features.segments
        assert [segment.croppable for segment in segments].count(False) == 1
        inference.use_costs(Costs(1e3, {segment.name: Cost(0.0, 1.0) for segment in segments}))
        image = models.picture(1, (112, 112))
        changed = image.copy()
        changed[40:60, 40:60] = 0
        vectors = [inference.infer(frame).heads[source.stem] for frame in models.frames([image, changed, image])]
        assert inference.reuse_stats()["partial"] == 2
        assert np.allclose(vectors[2].result.vector, vectors[0].result.vector, atol=1e-5)
        assert not np.allclose(vectors[1].result.vector, vectors[0].result.vector, atol=1e-5)


def test_verification_leaves_costs_and_propagation_as_they_were(folder):
    with closing(models.inference(folder, reuse=ReuseConfig(mode="auto"))) as inference:
        features = inference._reuse._network.features
        costs = features.costs
        inference.verify_reuse()
        assert features.costs is costs
        assert features.propagation == NEAR


def test_without_parts_there_is_nothing_to_verify(folder):
    with closing(models.inference(folder, reuse=ReuseConfig(mode="gate"))) as inference:
        assert inference.verify_reuse() is None


def test_check_accepts_a_compiled_model(folder, tmp_path):
    assert [finding.verdict for finding in findings(folder, tmp_path)] == ["ok"]


def test_check_finds_a_receptive_field_that_is_too_small(changed, tmp_path):
    (found,) = findings(changed(r"low: -\d+, high: \d+", "low: 0, high: 0"), tmp_path)
    assert found.verdict == "fail"
    assert "computed in parts, outputs differ by" in found.text


def test_a_map_that_does_not_tile_the_image_is_computed_as_a_whole(changed, tmp_path):
    folder = changed(r"stride: 16, low", "stride: 32, low")
    with closing(models.inference(folder, reuse=ReuseConfig(mode="auto"))) as inference:
        assert inference.verify_reuse() <= 1e-4
