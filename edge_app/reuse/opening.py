"""From a model folder to features that can be computed in part, where its compiler has said enough.

Not here: when they are (frames.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from edge_app.backends import Backend
from edge_app.manifest import Graph, Manifest
from edge_app.reuse import cost
from edge_app.reuse.features import EXACT, NEAR, Features, Following
from edge_app.reuse.tuned import Tuned
from edge_app.reuse.units import Unit, backbone_reach, head_reach
from edge_app.reuse_block import Mode, Reuse

_MODES: tuple[Mode, ...] = ("off", "gate", "auto")  # each allows more than the one before


def effective(settings: Reuse, known: Tuned) -> Reuse:
    """The settings, less what tuning found not to pay, and with what it found where they leave it open."""
    mode = _MODES[min(_MODES.index(settings.mode), _MODES.index(known.verdict))]
    tolerance = known.tolerance if settings.tolerance is None else settings.tolerance
    share = known.share if settings.feature_share is None else settings.feature_share
    return replace(settings, mode=mode, tolerance=tolerance, feature_share=share)


def open_features(
    manifest: Manifest, backend: Backend, heads: Iterable[str], settings: Reuse, known: Tuned
) -> Features | None:
    """Load the graphs that can be run on rectangles; None where that is none of them. settings: as `effective`."""
    if manifest.backbone is None or backend.target not in ("onnx", "int8"):
        return None  # other engines' graphs have one shape
    specs = [manifest.heads[name] for name in heads]
    if any(spec.graph is None for spec in specs):
        return None
    with ExitStack() as stack:
        units: list[Unit] = []
        work: dict[str, float] = {}
        for i, graph in enumerate(manifest.backbone_graphs(backend.target)):
            units.append(_unit(f"backbone{i}", "", graph, manifest, backend))
            stack.callback(units[-1].session.close)
            work[units[-1].name] = _work(units[-1], graph)
            if not units[0].free:
                return None
        for spec in specs:
            assert spec.graph is not None
            graph = manifest.graph(spec.graph, backend.target)
            units.append(_unit(f"head {spec.name}", spec.name, graph, manifest, backend))
            stack.callback(units[-1].session.close)
            work[units[-1].name] = _work(units[-1], graph)
        costs = known.machine_costs()
        if costs is None or set(costs.units) != set(work):
            costs = cost.assumed(work)
        return Features(units, units[0].inputs[0], costs, _following(settings, known), stack.pop_all())


def _unit(name: str, head: str, graph: Graph, manifest: Manifest, backend: Backend) -> Unit:
    session = backend.load(graph)
    strides, reach = head_reach(manifest, manifest.heads[head].cells) if head else backbone_reach(manifest, session)
    return Unit(name, session, (manifest.input.width, manifest.input.height), strides, reach, head=head)


def _following(settings: Reuse, known: Tuned) -> Following:
    if settings.tolerance == 0:
        return EXACT
    share, tolerance = settings.feature_share, known.feature_tolerance
    return Following(NEAR.share if share is None else share, NEAR.tolerance if tolerance is None else tolerance)


def _work(unit: Unit, graph: Graph) -> float:
    """A number about in proportion to a step's operations: its weights, once a cell of its finest output."""
    stride = min((unit.strides.get(name, 32) for name in unit.outputs), default=32)
    return graph.path.stat().st_size / stride**2
