"""Reuse equals full inference on random networks. `python -m tests.reuse.random_graphs --seeds 500` runs more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.reuse import random_graphs

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


def test_finds_a_halo_that_is_too_small(tmp_path, monkeypatch):
    described = random_graphs.describe.receptive_fields
    monkeypatch.setattr(
        random_graphs.describe, "receptive_fields",
        lambda assembly: {name: replace(field, low=0, high=0) for name, field in described(assembly).items()},
    )  # fmt: skip
    found = [random_graphs.check(seed, subfolder(tmp_path, seed)) for seed in range(4)]
    assert any(not outcome.ok for outcome in found)


def subfolder(place, seed):
    folder = place / str(seed)
    folder.mkdir()
    return folder
