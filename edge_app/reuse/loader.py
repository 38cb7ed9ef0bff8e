"""Loads a model's segments into a FeatureCache, and combines the configured settings with the profile.

onnxruntime and ncnn run boxes of any size; other engines run the sizes that the model was compiled for
(manifest.FixedShapes).
Not here: when segments run (planner.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from edge_app.backends import Backend, Graph
from edge_app.config.reuse import Mode, ReuseConfig
from edge_app.errors import ModelError
from edge_app.model.manifest import FILE, Manifest, ManifestHead
from edge_app.model.schema import FixedShape, OutputCells
from edge_app.reuse.costs import Costs, assumed_costs
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.fixed_shapes import FixedShapeSegment, Size
from edge_app.reuse.profile import ReuseProfile
from edge_app.reuse.propagation import EXACT, NEAR, Propagation
from edge_app.reuse.segments import Segment, backbone_reach, head_reach

FREE = ("onnx", "int8", "ncnn")  # targets whose graphs accept boxes of any size
_FIRST = "backbone0"  # the segment that takes the image
_MODES: tuple[Mode, ...] = ("off", "gate", "auto")  # in ascending order of what they allow


def effective(settings: ReuseConfig, profile: ReuseProfile) -> ReuseConfig:
    """The configured settings, with the profile's values if they are null, and no higher mode than its verdict."""
    mode = _MODES[min(_MODES.index(settings.mode), _MODES.index(profile.verdict))]
    tolerance = profile.tolerance if settings.tolerance is None else settings.tolerance
    share = profile.share if settings.feature_share is None else settings.feature_share
    return replace(settings, mode=mode, tolerance=tolerance, feature_share=share)


def open_features(
    manifest: Manifest,
    backend: Backend,
    heads: Iterable[str],
    settings: ReuseConfig,
    profile: ReuseProfile,
    *,
    costs: Costs | None = None,
) -> FeatureCache | None:
    """Load the model's segments; None if they cannot run on boxes. settings: from `effective`.

    costs: measured on this machine; None, or costs of other segments: they are assumed.
    """
    if manifest.backbone is None or backend.target not in (*FREE, *manifest.shapes):
        return None
    specs = [manifest.heads[name] for name in heads]
    if any(spec.graph is None for spec in specs):
        return None
    with ExitStack() as stack:
        segments: list[Segment] = []
        work: dict[str, float] = {}
        for files in _segment_files(manifest, backend.target, specs):
            segments.append(_load_segment(files, manifest, backend, stack))
            _check_inputs(segments, manifest)
            work[files.name] = _work(segments[-1], next(iter(files.graphs.values())))
            if not segments[0].croppable:
                return None
        if costs is None or set(costs.segments) != set(work):
            costs = assumed_costs(work)
        return FeatureCache(segments, segments[0].inputs[0], costs, _propagation(settings, profile), stack.pop_all())


def map_bytes(manifest: Manifest, target: str) -> int:
    """Estimate the memory of the backbone's maps on engines with fixed shapes: cached and between graphs, float32."""
    assert manifest.backbone is not None
    width, height = manifest.input.width, manifest.input.height
    sizes = {
        name: 4 * field.channels * -(-width // field.stride) * -(-height // field.stride)
        for name, field in manifest.backbone.extents.items()
    }

    def images(shapes: Iterable[FixedShape]) -> float:
        return sum(shape.width * shape.height for shape in shapes) / (width * height)

    shaped = manifest.shapes[target]
    # Cached; as the output of one graph and the input of the next.
    total = sum(sizes.values()) * (1 + 2 * max(map(images, shaped.backbone)))
    for name, head in manifest.heads.items():
        inputs = sum(sizes.get(feature, 0) for feature in head.inputs)
        total += inputs * (images(shaped.heads.get(name, ())) or 1)
    return round(total)


@dataclass(frozen=True, slots=True)
class _SegmentFiles:
    """The graphs of a segment. head: the head's name, "" in the backbone. graphs: by size, that of the image first.

    cells: of the outputs, if it is a head or a segment of one. inner: cells of the maps that earlier segments of the
    same head return.
    """

    name: str
    head: str
    graphs: Mapping[Size, Graph]
    cells: Mapping[str, OutputCells] = field(default_factory=dict)
    inner: Mapping[str, OutputCells] = field(default_factory=dict)


def _segment_files(manifest: Manifest, target: str, specs: Iterable[ManifestHead]) -> Iterator[_SegmentFiles]:
    """The backbone's segments and the heads, in order."""
    whole = (manifest.input.width, manifest.input.height)
    shaped = manifest.shapes.get(target)

    def graphs(shapes: Iterable[FixedShape]) -> dict[Size, Graph]:
        return {(shape.width, shape.height): manifest.graph({target: shape.file}, target) for shape in shapes}

    segments = [graphs(shapes) for shapes in shaped.backbone] if shaped else []
    for i, graphs_by_size in enumerate(segments or [{whole: graph} for graph in manifest.backbone_graphs(target)]):
        yield _SegmentFiles(f"backbone{i}", "", graphs_by_size)
    for spec in specs:
        assert spec.graph is not None
        name = f"head {spec.name}"
        if spec.segments and all(target in segment.graph for segment in spec.segments):
            inner: dict[str, OutputCells] = {}
            for i, segment in enumerate(spec.segments):
                graph = manifest.graph(segment.graph, target)
                yield _SegmentFiles(f"{name}/{i}", spec.name, {whole: graph}, segment.cells, dict(inner))
                inner |= segment.cells
            continue
        sizes = graphs(shaped.heads.get(spec.name, ())) if shaped else {}
        yield _SegmentFiles(name, spec.name, sizes or {whole: manifest.graph(spec.graph, target)}, spec.cells)


def _load_segment(files: _SegmentFiles, manifest: Manifest, backend: Backend, stack: ExitStack) -> Segment:
    """Load the graphs of a segment. The stack closes them."""
    assert manifest.backbone is not None
    extents, sessions = manifest.backbone.extents, {}
    for size, graph in files.graphs.items():
        sessions[size] = session = backend.load(graph)
        stack.callback(session.close)
    whole, first = next(iter(sessions.items()))
    inner: list[str] = []
    if files.head:
        features = manifest.heads[files.head].inputs
        inner = [spec.name for spec in first.inputs if spec.name not in features]
        known = {name: field.stride for name, field in extents.items() if name in features}
        known |= {name: cells.stride for name, cells in files.inner.items()}
        strides, reach = head_reach(known, files.cells)
    else:
        inputs, outputs = [s.name for s in first.inputs], [s.name for s in first.outputs]
        strides, reach = backbone_reach(extents, inputs, outputs, first=files.name == _FIRST)
    if len(sessions) > 1:
        return FixedShapeSegment(files.name, sessions, whole, strides, reach, head=files.head)
    return Segment(files.name, first, whole, strides, reach, head=files.head, inner=inner)


def _check_inputs(segments: Sequence[Segment], manifest: Manifest) -> None:
    """Raise ModelError if the last segment, of a head, takes a map that no earlier segment of the head returns."""
    last = segments[-1]
    made = {segment.keys[name] for segment in segments[:-1] for name in segment.outputs}
    missing = [name for name in last.inputs if last.head and last.keys[name] not in made]
    if missing:
        raise ModelError(
            f"{manifest.folder / FILE}: heads.{last.head}: the graph of '{last.name}' takes '{missing[0]}', which no "
            "earlier segment returns; expected the files of one compilation"
        )


def _propagation(settings: ReuseConfig, profile: ReuseProfile) -> Propagation:
    if settings.tolerance == 0:
        return EXACT
    share, tolerance = settings.feature_share, profile.feature_tolerance
    return Propagation(NEAR.share if share is None else share, NEAR.tolerance if tolerance is None else tolerance)


def _work(segment: Segment, graph: Graph) -> float:
    """A number roughly in proportion to a segment's operations: its weights times the cells of its finest output."""
    stride = min((segment.strides.get(name, 32) for name in segment.outputs), default=32)
    return (graph.weights or graph).path.stat().st_size / stride**2
