"""Reuse equals full inference on random networks. `python -m tests.reuse.random_graphs --seeds 500` runs more."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from edge_app.backends.onnx import Backend
from edge_app.compiler import canonical, input_models
from edge_app.compiler.input_models import ModelOptions
from edge_app.config.reuse import ReuseConfig
from edge_app.errors import ModelError
from edge_app.reuse.loader import open_features
from edge_app.reuse.profile import ReuseProfile
from tests.reuse import models, random_graphs
from tests.reuse.random_networks import random_network

SEEDS = range(25)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return [random_graphs.check(seed, tmp_path_factory.mktemp("model")) for seed in SEEDS]


def test_reuse_equals_full_inference_on_random_networks(outcomes):
    wrong = [outcome for outcome in outcomes if not outcome.ok]
    assert not wrong, f"seed {wrong[0].seed}: {wrong[0].failure or wrong[0].error}"


def test_most_random_networks_are_computed_in_parts(outcomes):
    assert sum(outcome.parts > 0 for outcome in outcomes) >= 15
    assert any(outcome.cropped_head for outcome in outcomes)
    assert sum(outcome.cut_head for outcome in outcomes) >= 10


def test_finds_a_halo_that_is_too_small(tmp_path, monkeypatch):
    described = random_graphs.describe.receptive_fields
    monkeypatch.setattr(
        random_graphs.describe, "receptive_fields",
        lambda assembly: {name: replace(field, low=0, high=0) for name, field in described(assembly).items()},
    )  # fmt: skip
    found = [random_graphs.check(seed, subfolder(tmp_path, seed)) for seed in range(4)]
    assert any(not outcome.ok for outcome in found)


def test_finds_a_halo_that_is_too_small_in_a_segment_of_a_head(tmp_path, monkeypatch):
    described = random_graphs.describe.in_pixels

    def too_small(cells):
        return {
            name: replace(output, reach=dict.fromkeys(output.reach, (0, 0)))
            for name, output in described(cells).items()
        }

    monkeypatch.setattr(random_graphs.describe, "in_pixels", too_small)
    monkeypatch.setattr(random_graphs.describe, "output_cells", lambda assembly: {})
    found = [random_graphs.check(seed, subfolder(tmp_path, seed)) for seed in range(4)]
    assert any(outcome.cut_head and not outcome.ok and not outcome.failure for outcome in found)


def test_segments_of_a_head_in_the_wrong_order_are_an_error(tmp_path):
    folders = (random_graphs.write(random_network(seed), subfolder(tmp_path, seed)) for seed in range(25))
    loaded, head = next((loaded, head) for loaded in folders for head in loaded.heads.values() if takes_own_maps(head))
    assert {name for segment in head.segments for name in segment.graph.values()} <= set(loaded.files())
    wrong = replace(loaded, heads={head.name: replace(head, segments=head.segments[::-1])})
    with closing(Backend(threads=1)) as backend, pytest.raises(ModelError, match="which no earlier segment returns"):
        open_features(wrong, backend, wrong.heads, ReuseConfig(tolerance=0), ReuseProfile())


def takes_own_maps(head):
    """Whether a segment that runs in parts takes a map of an earlier one."""
    taken = {name for segment in head.segments for cells in segment.cells.values() for name in cells.reach}
    return bool(taken - set(head.inputs))


PUBLIC = {
    "nanodet_m.onnx": (256, 192),
    "version-RFB-320.onnx": (320, 240),
    "yolofastestv2.onnx": (352, 352),
    "FastestDet.onnx": (352, 352),
    "exports/v8.onnx": (256, 192),
    "exports/v11.onnx": (160, 160),
    "exports/v10.onnx": (160, 160),
}
FAST = ("nanodet_m.onnx", "exports/v11.onnx")


@pytest.mark.parametrize(
    "file",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.system) for name in PUBLIC],
)
def test_public_models_with_cut_heads_equal_full_inference(file, tmp_path):
    path = models.DATA / file
    if not path.exists():
        pytest.skip(f"{file} is not in $EDGE_APP_DATA")
    (model,) = input_models.read([path], ModelOptions(input_size=PUBLIC[file]))
    outcome = random_graphs.check_network(canonical.set_input_size(model.net, *PUBLIC[file]), tmp_path, seed=1)
    assert not outcome.failure, outcome.failure
    assert outcome.error <= random_graphs.TOLERANCE
    assert outcome.parts > 0
    assert outcome.cut_head or file == "FastestDet.onnx"  # its head has one stride


def subfolder(place, seed):
    folder = place / str(seed)
    folder.mkdir()
    return folder
