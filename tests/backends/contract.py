"""The test suite for all backends. A backend's test module subclasses `Contract` and provides two graphs.

The first graph maps an image to the features c8 and c16; the second maps both to y.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_app.backends import Backend, Graph
from edge_app.errors import BackendError, ModelError


@dataclass(frozen=True)
class Case:
    """A backend, its two graphs, and the tolerance of its arithmetic against float32.

    image: an input of the first graph, in the backend's dtype and layout. features, y: the results in float32.
    """

    backend: Backend
    first: Graph
    second: Graph
    image: np.ndarray
    features: dict[str, np.ndarray]
    y: np.ndarray
    tolerance: float


def case_of_means(backend: Backend, first: Graph, second: Graph) -> Case:
    """The case of these graphs in float32.

    first: uint8 image (1, 8, 12, 3) -> c8 (1, 3, 8, 12), the image in 0..1; c16 (1, 3, 4, 6), its 2x2 means.
    second: c8 and c16 -> y (1, 3, 1, 1), the sum of their means.
    """
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), np.uint8)
    c8 = image.transpose(0, 3, 1, 2).astype(np.float32) / 255
    c16 = c8.reshape(1, 3, 4, 2, 6, 2).mean((3, 5))
    y = c8.mean((2, 3), keepdims=True) + c16.mean((2, 3), keepdims=True)
    return Case(backend, first, second, image, {"c8": c8, "c16": c16}, y, tolerance=1e-6)


class Contract:
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        raise NotImplementedError("a backend's test class overrides this fixture")

    def test_has_a_target_and_a_version(self, case):
        assert case.backend.target
        assert case.backend.version.strip()

    def test_reports_names_shapes_and_dtypes(self, case):
        session = case.backend.load(case.first)
        (image,) = session.inputs
        assert (image.shape, image.dtype) == (case.image.shape, str(case.image.dtype))
        assert {o.name: o.shape for o in session.outputs} == {n: a.shape for n, a in case.features.items()}
        assert {o.dtype for o in session.outputs} == {"float32"}
        second = case.backend.load(case.second)
        assert {i.name: i.shape for i in second.inputs} == {n: a.shape for n, a in case.features.items()}

    def test_returns_every_output(self, case):
        session = case.backend.load(case.first)
        results = session.run({session.inputs[0].name: case.image})
        assert set(results) == set(case.features)
        for name, expected in case.features.items():
            np.testing.assert_allclose(results[name], expected, atol=case.tolerance)

    def test_results_depend_only_on_the_input(self, case):
        session = case.backend.load(case.first)
        name = session.inputs[0].name
        first = {k: v.copy() for k, v in session.run({name: case.image}).items()}
        dark = session.run({name: np.zeros_like(case.image)})
        assert any(np.abs(dark[k] - v).max() > 10 * case.tolerance for k, v in first.items())
        again = session.run({name: case.image})
        for key, value in first.items():
            np.testing.assert_array_equal(again[key], value)

    def test_arrays_are_accepted_by_the_next_graph(self, case):
        second = case.backend.load(case.second)
        results = second.run(case.features)
        np.testing.assert_allclose(results["y"], case.y, atol=3 * case.tolerance)

    def test_kept_outputs_are_accepted_by_the_next_graph(self, case):
        first, second = case.backend.load(case.first, keep=("c8", "c16")), case.backend.load(case.second)
        kept = first.run({first.inputs[0].name: case.image})
        results = second.run({name: kept[name] for name in ("c8", "c16")})
        np.testing.assert_allclose(results["y"], case.y, atol=3 * case.tolerance)
        for name, expected in case.features.items():
            value = kept[name]
            array = value if isinstance(value, np.ndarray) else value.array()
            np.testing.assert_allclose(array, expected, atol=case.tolerance)

    def test_arrays_and_kept_outputs_may_alternate(self, case):
        first, second = case.backend.load(case.first, keep=("c8", "c16")), case.backend.load(case.second)
        name = first.inputs[0].name
        zeros = {key: np.zeros_like(value) for key, value in case.features.items()}
        for _ in range(2):
            bound = np.array(second.run(dict(first.run({name: case.image})))["y"])
            still = np.array(second.run(zeros)["y"])
            np.testing.assert_allclose(bound, case.y, atol=3 * case.tolerance)
            np.testing.assert_allclose(still, 0, atol=3 * case.tolerance)

    def test_reports_a_missing_input(self, case):
        second = case.backend.load(case.second)
        with pytest.raises(BackendError, match="'c16' is missing"):
            second.run({"c8": case.features["c8"]})

    def test_rejects_a_wrong_shape_or_dtype(self, case):
        session = case.backend.load(case.first)
        name = session.inputs[0].name
        with pytest.raises(BackendError, match="expected"):
            session.run({name: case.image[:, 1:]})
        with pytest.raises(BackendError, match="expected"):
            session.run({name: case.image.astype(np.float64)})

    def test_rejects_a_file_that_is_not_a_graph(self, case, tmp_path):
        for content in (b"", b"not a graph", case.first.path.read_bytes()[:40]):
            path = tmp_path / "broken"
            path.write_bytes(content)
            with pytest.raises(ModelError, match="broken"):
                case.backend.load(Graph(path, None))

    def test_reports_a_missing_file(self, case, tmp_path):
        with pytest.raises(ModelError, match=r"absent.*cannot be read"):
            case.backend.load(Graph(tmp_path / "absent", None))

    def test_rejects_a_changed_file(self, case):
        with pytest.raises(ModelError, match="sha256"):
            case.backend.load(Graph(case.first.path, hashlib.sha256(b"other").hexdigest()))

    def test_close_is_idempotent_and_run_after_close_is_an_error(self, case):
        session = case.backend.load(case.first)
        session.close()
        session.close()
        with pytest.raises(BackendError, match="closed"):
            session.run({session.inputs[0].name: case.image})
        case.backend.close()
        case.backend.close()
