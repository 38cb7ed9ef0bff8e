"""The planner: chooses the cheapest correct way to compute each frame.

gate: nothing changed; the last results remain valid. heads: nothing changed, but a head has not run on the current
features yet. partial: some blocks changed; the features are recomputed there. dense: the whole network is computed.
carried: only with a time budget; it is exhausted, so the last results are held and the tracker moves their boxes.
Not here: detecting changes (change_detection.py), running the network in part (network_cache.py, feature_cache.py),
costs (cost_account.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from edge_app.backends import Array
from edge_app.reuse.change_detection import Change, ChangeDetector, UInt8
from edge_app.reuse.cost_account import CostAccount, DecisionKind
from edge_app.reuse.dirty_rects import boxes_of_blocks
from edge_app.reuse.guard import AgreementGuard
from edge_app.reuse.head_schedule import HeadSchedule
from edge_app.reuse.network_cache import NetworkCache, OutputsOf
from edge_app.reuse.relaxation import Bounds


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision for one frame.

    run: the heads to decode, with `outputs_of`; if that returns None for a head, its result did not change. held: the
    heads that were due but did not fit the time budget: their results belong to an earlier frame. The results of all
    other heads are valid for this frame. since_ns: when the oldest part of the outputs was computed. check: compute the
    frame in full too, and compare the results (guard.py).
    """

    kind: DecisionKind
    run: frozenset[str]
    outputs_of: OutputsOf
    since_ns: int
    held: frozenset[str] = frozenset()
    check: bool = False


class Planner:
    """Plans the frames of one model and one camera, in order. guard: of partial frames; None: they are not checked."""

    def __init__(
        self,
        detector: ChangeDetector,
        network: NetworkCache,
        heads: HeadSchedule,
        account: CostAccount,
        bounds: Bounds,
    ) -> None:
        self._detector = detector
        self._network = network
        self._heads = heads
        self._account = account
        self._bounds = bounds
        self.guard: AgreementGuard | None = None
        self._partial_ms = 0.0  # of a partial frame that is computed in full, too

    def decide(self, image: UInt8, tensor: Array, now_ns: int, due: frozenset[str]) -> Decision:
        """Decide how to compute a frame, and run the network. image, tensor: as in Preprocess. due: heads to run."""
        account, bounds, network = self._account, self._bounds, self._network
        if bounds.budget is not None:
            bounds.budget.earn()
        expired = network.expired(now_ns, bounds.max_age_ns)
        account.detected = not account.pause_left
        if account.pause_left:
            return self._compute_in_pause(image, tensor, now_ns, due, expired=expired)
        change = self._detector.detect(image)
        if network.outputs_of is None or expired or change.kind == "first":
            return self._dense(tensor, now_ns, due, fill=True)
        if change.kind == "none":
            return self._unchanged(tensor, now_ns, due)
        if change.kind == "blocks" and network.features is not None:
            return self._changed(change, tensor, now_ns, due)
        return self._dense_or_carried(tensor, now_ns, due, fill=False)

    def continue_pause(self, tensor: Array, now_ns: int, due: frozenset[str]) -> Decision:
        """Compute a frame within a pause: dense, without bookkeeping, which would be noticeable with small networks."""
        self._account.record_unchecked_frame()
        outputs_of = self._network.run_dense(tensor, now_ns, timed=False)
        self._heads.mark_all_outdated()
        self._heads.mark_run(due)
        return Decision("dense", due, outputs_of, now_ns)

    def compute_in_full(self, tensor: Array, now_ns: int, due: frozenset[str]) -> OutputsOf:
        """Compute the frame that was computed in part last in full, too. due: heads whose results are compared."""
        features = self._network.features
        assert features is not None
        self._partial_ms = features.spent_ms
        outputs_of = self._network.fill(tensor, now_ns)
        self._heads.mark_all_outdated()
        self._heads.mark_run(due)
        self._detector.update_reference(None)
        return outputs_of

    def end_check(self, differing: int, objects: int) -> None:
        """Record the comparison of the results, as AgreementGuard.record, and what it has cost."""
        guard, features = self.guard, self._network.features
        assert guard is not None
        assert features is not None
        self._account.record_check(features.spent_ms)
        features.spent_ms = self._partial_ms
        self._account.end_refresh()
        guard.record(differing, objects)
        features.set_propagation(guard.propagation)

    def restart(self) -> None:
        """Treat the next frame as the first one: compute everything."""
        self._account.pause_left = 0
        self._detector.reset()

    def forget_results_of(self, new: Collection[str]) -> None:
        """Run these heads on the current outputs, since they have no result. If freed, outputs are recomputed."""
        self._heads.mark_outdated(new)
        if self._heads.outdated and self._network.released:
            self._network.outputs_of = None
        if self._network.features is not None:
            self._network.features.forget_heads(new)

    def _compute_in_pause(
        self, image: UInt8, tensor: Array, now_ns: int, due: frozenset[str], *, expired: bool
    ) -> Decision:
        """Compute a frame without change detection. The last one of a pause becomes the reference."""
        account, network = self._account, self._network
        if network.outputs_of is not None and not expired and not self._bounds.afford(account.costs.dense):
            return self._carried(due)
        account.pause_left -= 1
        if not account.pause_left:
            self._detector.set_reference(image)
        return self._dense(tensor, now_ns, due, fill=False, update_reference=False)

    def _unchanged(self, tensor: Array, now_ns: int, due: frozenset[str]) -> Decision:
        """Results remain valid, except those of heads that have not run on the current features."""
        network = self._network
        if network.filled:
            self._refresh(tensor, now_ns, changed=False)
        requested = self._outdated(due) | (due & self._heads.every_frame)
        return self._run_heads("heads", requested)

    def _changed(self, change: Change, tensor: Array, now_ns: int, due: frozenset[str]) -> Decision:
        """Some blocks changed: compute the frame in part if that is cheaper than a dense frame."""
        account, network, features = self._account, self._network, self._network.features
        assert features is not None
        boxes = boxes_of_blocks(change.blocks, self._detector.size)
        predicted_ms = features.predict_ms(boxes)
        pays = account.partial_pays(predicted_ms, filled=network.filled)
        expected_ms = account.expected_ms(predicted_ms)
        if account.costs.assumed:
            features.adapt_propagation(expected_ms / account.costs.dense)
        refresh = account.refresh_due and self._bounds.budget is None
        pays = pays and (self.guard is None or self.guard.allows())
        if not pays or not network.filled or refresh:
            return self._dense_or_carried(tensor, now_ns, due, fill=pays)
        if not self._bounds.afford(expected_ms - account.heads_ms(due)):
            return self._carried(due)
        account.start_partial(predicted_ms)
        network.update(tensor, boxes)
        self._detector.update_reference(boxes)
        check = self.guard is not None and self._bounds.budget is None and self.guard.due()
        if not check:
            self._refresh(tensor, now_ns, changed=True)
        return replace(self._run_heads("partial", self._outdated(due)), check=check)

    def _refresh(self, tensor: Array, now_ns: int, *, changed: bool) -> None:
        """Renew some tiles of the cached maps."""
        earned_ms = 0.0 if self._bounds.budget is not None else self._account.refresh_ms
        tiles = self._network.refresh(tensor, now_ns, earned_ms, changed=changed)
        if tiles:
            self._detector.update_reference(tiles)
        if self._network.rolling.complete:
            self._account.end_refresh()

    def _dense_or_carried(self, tensor: Array, now_ns: int, due: frozenset[str], *, fill: bool) -> Decision:
        if self._bounds.afford(self._account.costs.dense):
            return self._dense(tensor, now_ns, due, fill=fill)
        return self._carried(due)

    def _dense(
        self, tensor: Array, now_ns: int, due: frozenset[str], *, fill: bool, update_reference: bool = True
    ) -> Decision:
        """Compute the whole network. fill: segment by segment, so that the next frame may be computed in part."""
        network = self._network
        run = network.fill if fill and network.features is not None else network.run_dense
        outputs_of = run(tensor, now_ns)
        self._account.end_refresh()
        self._heads.mark_all_outdated()
        if update_reference:
            self._detector.update_reference(None)
        return Decision("dense", due, outputs_of, now_ns)

    def _carried(self, due: frozenset[str]) -> Decision:
        assert self._network.outputs_of is not None
        return Decision("carried", frozenset(), self._network.outputs_of, self._network.since_ns, due)

    def _run_heads(self, kind: DecisionKind, requested: frozenset[str]) -> Decision:
        """Run the requested heads that fit the time budget, highest priority first."""
        network, run = self._network, requested
        assert network.outputs_of is not None
        if self._bounds.budget is not None:
            afford, heads_ms = self._bounds.afford, self._account.heads_ms
            run = frozenset(name for name in self._heads.by_priority if name in requested and afford(heads_ms((name,))))
        kind = "gate" if kind == "heads" and not run else kind
        return Decision(kind, run, network.outputs_of, network.since_ns, requested - run)

    def _outdated(self, due: frozenset[str]) -> frozenset[str]:
        """The heads among `due` that have not run on the current outputs."""
        network, outdated = self._network, self._heads.outdated
        if not network.filled:
            return due & outdated
        assert network.features is not None
        pending = network.features.pending
        return frozenset(name for name in due if name in outdated or pending(name))
