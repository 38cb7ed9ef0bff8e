"""The guard: how often it checks, and how the propagation follows what the checks find."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.reuse.guard import AgreementGuard
from edge_app.reuse.propagation import EXACT, NEAR, Propagation


def checks_in(guard, frames):
    """The numbers of the partial frames that are checked, without a difference."""
    found = []
    for number in range(1, frames + 1):
        if guard.due():
            found.append(number)
            guard.record(0, 2)
    return found


def test_checks_are_frequent_first_and_then_rare():
    assert checks_in(AgreementGuard(0.005, NEAR), 500) == [24, 72, 168, 264, 360, 456]


def test_more_is_propagated_while_too_many_objects_differ_until_everything_is():
    guard, found = AgreementGuard(0.005, NEAR), []
    for _ in range(6):
        found.append(guard.propagation)
        guard.record(3, 20)
    tolerances = [propagation.tolerance for propagation in found]
    assert tolerances == sorted(tolerances, reverse=True)
    assert guard.propagation == EXACT
    assert not guard.allows(), "even exact propagation loses too much"
    assert guard.stats()["loss"] == pytest.approx(0.15)


def test_partial_frames_are_tried_again_after_a_pause():
    guard = AgreementGuard(0.005, EXACT)
    guard.record(3, 20)
    assert sum(guard.allows() for _ in range(3000)) > 500


def test_one_object_may_differ_by_chance():
    guard = AgreementGuard(0.005, NEAR)
    guard.record(1, 20)
    assert guard.propagation == NEAR


def test_less_is_propagated_after_enough_evidence_without_loss():
    guard = AgreementGuard(0.005, NEAR)
    for _ in range(8):
        guard.record(0, 16)
    assert guard.propagation == NEAR
    for _ in range(8):
        guard.record(0, 16)
    assert guard.propagation.tolerance > NEAR.tolerance


def test_an_empty_scene_is_no_evidence():
    guard = AgreementGuard(0.005, NEAR)
    for _ in range(100):
        guard.record(0, 0)
    assert guard.propagation == NEAR
    assert guard.stats()["loss"] is None


def test_tuned_propagation_is_the_loosest_level():
    tuned = Propagation(0.4, 0.4)
    guard = AgreementGuard(0.005, tuned)
    for _ in range(100):
        guard.record(0, 20)
    assert guard.propagation == tuned
    guard.record(9, 20)
    assert guard.propagation.tolerance < tuned.tolerance


@pytest.mark.parametrize("lost", [(0.001, 0.004, 0.002, 0.0, 0.0, 0.0), (0.03, 0.012, 0.004, 0.001, 0.0, 0.0)])
def test_the_average_loss_stays_within_the_bound(lost):
    """lost: what each level loses, the loosest first. A run of an hour, of 16 compared objects a check."""
    guard, rng, losses = AgreementGuard(0.005, NEAR), np.random.default_rng(3), []
    levels = guard._levels
    for _ in range(400):
        level = levels.index(guard.propagation)
        losses.append(lost[level])
        guard.record(int(rng.binomial(16, lost[level])), 16)
    assert np.mean(losses[40:]) <= 2 * 0.005  # twice, since noise alone makes some results differ
