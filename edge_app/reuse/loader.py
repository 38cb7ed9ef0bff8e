"""From a model folder to features that can be computed in part, where its compiler has said enough.

onnxruntime takes boxes of any size; another engine those sizes that the model was compiled for (manifest.Shaped).
Not here: when they are (frames.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from edge_app.backends import Backend, Graph
from edge_app.config.reuse import Mode, ReuseConfig
from edge_app.model.manifest import Manifest, ManifestHead
from edge_app.model.schema import Shape
from edge_app.reuse import costs as cost
from edge_app.reuse.feature_cache import EXACT, NEAR, Features, Propagation
from edge_app.reuse.fixed_shapes import FixedUnit, Size
from edge_app.reuse.profile import Tuned
from edge_app.reuse.segments import Segment, backbone_reach, head_reach

FREE = ("onnx", "int8")  # targets whose graphs take boxes of any size
_MODES: tuple[Mode, ...] = ("off", "gate", "auto")  # each allows more than the one before


def effective(settings: ReuseConfig, known: Tuned) -> ReuseConfig:
    """The settings, less what tuning found not to pay, and with what it found where they leave it open."""
    mode = _MODES[min(_MODES.index(settings.mode), _MODES.index(known.verdict))]
    tolerance = known.tolerance if settings.tolerance is None else settings.tolerance
    share = known.share if settings.feature_share is None else settings.feature_share
    return replace(settings, mode=mode, tolerance=tolerance, feature_share=share)


def open_features(
    manifest: Manifest, backend: Backend, heads: Iterable[str], settings: ReuseConfig, known: Tuned
) -> Features | None:
    """Load the graphs that can be run on rectangles; None where that is none of them. settings: as `effective`."""
    if manifest.backbone is None or backend.target not in (*FREE, *manifest.shapes):
        return None
    specs = [manifest.heads[name] for name in heads]
    if any(spec.graph is None for spec in specs):
        return None
    with ExitStack() as stack:
        units: list[Segment] = []
        work: dict[str, float] = {}
        for step in _steps(manifest, backend.target, specs):
            units.append(_unit(step, manifest, backend, stack))
            work[step.name] = _work(units[-1], next(iter(step.graphs.values())))
            if not units[0].free:
                return None
        costs = known.machine_costs()
        if costs is None or set(costs.units) != set(work):
            costs = cost.assumed(work)
        return Features(units, units[0].inputs[0], costs, _following(settings, known), stack.pop_all())


def map_bytes(manifest: Manifest, target: str) -> int:
    """About what the backbone's maps take where steps have fixed shapes: float32, kept, and at every graph's edges."""
    assert manifest.backbone is not None
    width, height = manifest.input.width, manifest.input.height
    sizes = {
        name: 4 * each.channels * -(-width // each.stride) * -(-height // each.stride)
        for name, each in manifest.backbone.extents.items()
    }

    def pictures(shapes: Iterable[Shape]) -> float:
        return sum(each.width * each.height for each in shapes) / (width * height)

    shaped = manifest.shapes[target]
    found = sum(sizes.values()) * (1 + 2 * max(map(pictures, shaped.backbone)))  # kept; out of one graph, into the next
    for name, head in manifest.heads.items():
        taken = sum(sizes.get(each, 0) for each in head.inputs)
        found += taken * (pictures(shaped.heads.get(name, ())) or 1)
    return round(found)


@dataclass(frozen=True, slots=True)
class _Step:
    """head: its name, "" for the backbone's. graphs: by size, the whole picture first."""

    name: str
    head: str
    graphs: Mapping[Size, Graph]


def _steps(manifest: Manifest, target: str, specs: Iterable[ManifestHead]) -> Iterator[_Step]:
    """The backbone's segments and the heads, in order."""
    whole = (manifest.input.width, manifest.input.height)
    shaped = manifest.shapes.get(target)

    def graphs(shapes: Iterable[Shape]) -> dict[Size, Graph]:
        return {(each.width, each.height): manifest.graph({target: each.file}, target) for each in shapes}

    segments = [graphs(each) for each in shaped.backbone] if shaped else []
    for i, found in enumerate(segments or [{whole: graph} for graph in manifest.backbone_graphs(target)]):
        yield _Step(f"backbone{i}", "", found)
    for spec in specs:
        assert spec.graph is not None
        parts = graphs(shaped.heads.get(spec.name, ())) if shaped else {}
        yield _Step(f"head {spec.name}", spec.name, parts or {whole: manifest.graph(spec.graph, target)})


def _unit(step: _Step, manifest: Manifest, backend: Backend, stack: ExitStack) -> Segment:
    """Load a step's graphs, which the stack then closes."""
    assert manifest.backbone is not None
    extents, sessions = manifest.backbone.extents, {}
    for size, graph in step.graphs.items():
        sessions[size] = session = backend.load(graph)
        stack.callback(session.close)
    whole, first = next(iter(sessions.items()))
    if step.head:
        strides, reach = head_reach(extents, manifest.heads[step.head].cells)
    else:
        strides, reach = backbone_reach(extents, [s.name for s in first.inputs], [s.name for s in first.outputs])
    if len(sessions) > 1:
        return FixedUnit(step.name, sessions, whole, strides, reach, head=step.head)
    return Segment(step.name, first, whole, strides, reach, head=step.head)


def _following(settings: ReuseConfig, known: Tuned) -> Propagation:
    if settings.tolerance == 0:
        return EXACT
    share, tolerance = settings.feature_share, known.feature_tolerance
    return Propagation(NEAR.share if share is None else share, NEAR.tolerance if tolerance is None else tolerance)


def _work(unit: Segment, graph: Graph) -> float:
    """A number about in proportion to a step's operations: its weights, once a cell of its finest output."""
    stride = min((unit.strides.get(name, 32) for name in unit.outputs), default=32)
    return graph.path.stat().st_size / stride**2
