"""The suite that every backend must pass. A backend's test module subclasses `Contract` and makes two graphs.

The first graph takes an image and gives the features c8 and c16; the second takes both and gives y.
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
    """A backend, its two graphs, and how far its arithmetic may be from float32's.

    image: an input of the first graph, as the backend wants it. features, y: what float32 gives.
    """

    backend: Backend
    first: Graph
    second: Graph
    image: np.ndarray
    features: dict[str, np.ndarray]
    y: np.ndarray
    tolerance: float


class Contract:
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        raise NotImplementedError("a backend's test class makes its case")

    def test_says_what_it_is(self, case):
        assert case.backend.target
        assert case.backend.version.strip()

    def test_tells_names_shapes_and_dtypes(self, case):
        session = case.backend.load(case.first)
        (given,) = session.inputs
        assert (given.shape, given.dtype) == (case.image.shape, str(case.image.dtype))
        assert {o.name: o.shape for o in session.outputs} == {n: a.shape for n, a in case.features.items()}
        assert {o.dtype for o in session.outputs} == {"float32"}
        second = case.backend.load(case.second)
        assert {i.name: i.shape for i in second.inputs} == {n: a.shape for n, a in case.features.items()}

    def test_gives_every_output(self, case):
        session = case.backend.load(case.first)
        results = session.run({session.inputs[0].name: case.image})
        assert set(results) == set(case.features)
        for name, expected in case.features.items():
            np.testing.assert_allclose(results[name], expected, atol=case.tolerance)

    def test_follows_the_input(self, case):
        session = case.backend.load(case.first)
        name = session.inputs[0].name
        first = {k: v.copy() for k, v in session.run({name: case.image}).items()}
        dark = session.run({name: np.zeros_like(case.image)})
        assert any(np.abs(dark[k] - v).max() > 10 * case.tolerance for k, v in first.items())
        again = session.run({name: case.image})
        for key, value in first.items():
            np.testing.assert_array_equal(again[key], value)

    def test_arrays_go_into_the_next_graph(self, case):
        second = case.backend.load(case.second)
        results = second.run(case.features)
        np.testing.assert_allclose(results["y"], case.y, atol=3 * case.tolerance)

    def test_kept_outputs_go_into_the_next_graph(self, case):
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

    def test_a_missing_input_is_named(self, case):
        second = case.backend.load(case.second)
        with pytest.raises(BackendError, match="'c16' is missing"):
            second.run({"c8": case.features["c8"]})

    def test_another_shape_or_dtype_is_refused(self, case):
        session = case.backend.load(case.first)
        name = session.inputs[0].name
        with pytest.raises(BackendError, match="expected"):
            session.run({name: case.image[:, 1:]})
        with pytest.raises(BackendError, match="expected"):
            session.run({name: case.image.astype(np.float64)})

    def test_what_is_no_graph_is_refused(self, case, tmp_path):
        for content in (b"", b"not a graph", case.first.path.read_bytes()[:40]):
            path = tmp_path / "broken"
            path.write_bytes(content)
            with pytest.raises(ModelError, match="broken"):
                case.backend.load(Graph(path, None))

    def test_a_missing_file_is_named(self, case, tmp_path):
        with pytest.raises(ModelError, match=r"absent.*cannot be read"):
            case.backend.load(Graph(tmp_path / "absent", None))

    def test_a_changed_file_is_refused(self, case):
        with pytest.raises(ModelError, match="sha256"):
            case.backend.load(Graph(case.first.path, hashlib.sha256(b"other").hexdigest()))

    def test_closing_twice_is_safe_and_running_after_it_is_an_error(self, case):
        session = case.backend.load(case.first)
        session.close()
        session.close()
        with pytest.raises(BackendError, match="closed"):
            session.run({session.inputs[0].name: case.image})
        case.backend.close()
        case.backend.close()
