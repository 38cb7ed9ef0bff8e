"""What is kept of a model on a device: written, read back, and told of where it is damaged."""

from __future__ import annotations

import pytest

from edge_app.errors import ConfigError
from edge_app.model.manifest import load
from edge_app.reuse import profile as tuned
from edge_app.reuse.costs import Cost, Costs
from tests.reuse.models import SHIPPED

COSTS = Costs(40.0, {"backbone0": Cost(0.1, 8.0), "head digits": Cost(0.05, 2.0)}, 0.2)


def test_what_is_saved_is_loaded(tmp_path):
    file = tmp_path / "tune" / "x.yaml"
    known = tuned.Tuned(tuned.measured(COSTS), "gate", 0.7, 12.0, 0.4, 1.0, {"agreement": 0.99})
    tuned.save(file, known)
    assert tuned.load(file) == known
    assert tuned.load(file).machine_costs() == COSTS


def test_of_a_new_model_nothing_is_known(tmp_path):
    assert tuned.load(tmp_path / "none.yaml") == tuned.Tuned()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("verdict: maybe\n", "maybe"),
        ("costs: {dense: -1, look: 0, units: {}}\n", "dense"),
        ("tolerence: 3\n", "tolerence"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path, text, told):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"x\.yaml:1: .*{told}"):
        tuned.load(file)


def test_costs_are_measured_once_for_a_model(tmp_path):
    asked = []

    def measure():
        asked.append(1)
        return COSTS

    manifest = load(SHIPPED)
    for _ in range(2):
        tuned.measure_once(tmp_path, manifest, measure)
    assert len(asked) == 1
    assert tuned.load(tuned.path(tmp_path, manifest)).machine_costs() == COSTS
