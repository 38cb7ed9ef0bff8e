"""Error rates of recognition by threshold, from embeddings of several people.

A false accept: a person who is not in the gallery is taken for somebody who is. A false reject: a person who is in the
gallery is not recognized, or is taken for another one. Not here: where the embeddings come from (cli/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.gallery.people import Float32

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """Similarities of many searches.

    strangers: for each picture, the best match among all other people: the gallery without the person. members: for
    each picture of a person with several, the best match with other pictures of the same person, or -1 if another
    person is more similar.
    """

    strangers: Float64
    members: Float64

    def false_accepts(self, threshold: float) -> float:
        return float((self.strangers >= threshold).mean()) if len(self.strangers) else 0.0

    def false_rejects(self, threshold: float) -> float:
        return float((self.members < threshold).mean()) if len(self.members) else 0.0

    def threshold(self, rate: float) -> float:
        """The lowest threshold whose rate of false accepts is at most `rate`, rounded up to 0.001."""
        ranked = np.sort(self.strangers)[::-1]
        allowed = int(np.floor(rate * len(ranked) + 1e-9))
        if allowed >= len(ranked):
            return 0.0
        return min(1.0, max(0.0, (float(np.floor(ranked[allowed] * 1000)) + 1) / 1000))


def trials(people: Sequence[Float32]) -> Trials:
    """Search for every picture in all others. people: the embeddings (N, D) of each person. Two people at least."""
    matrix = np.concatenate(people).astype(np.float64)
    owner = np.repeat(np.arange(len(people)), [len(each) for each in people])
    similarity = matrix @ matrix.T
    same = owner[:, None] == owner[None]
    strangers = np.where(same, -1, similarity).max(axis=1)
    np.fill_diagonal(same, val=False)
    own = np.where(same, similarity, -1).max(axis=1)
    several = same.any(axis=1)
    members = np.where(own > strangers, own, -1)[several]
    return Trials(strangers, members)


def equal_error_rate(people: Sequence[Float32]) -> tuple[float, float]:
    """The rate at which both errors of comparing two pictures are equal, and its threshold.

    Needs pairs of one person, and pairs of two people.
    """
    matrix = np.concatenate(people).astype(np.float64)
    owner = np.repeat(np.arange(len(people)), [len(each) for each in people])
    first, second = np.triu_indices(len(matrix), k=1)
    scores, genuine = (matrix @ matrix.T)[first, second], owner[first] == owner[second]
    order = np.argsort(-scores, kind="stable")
    accepted, scores = genuine[order], scores[order]
    false_accepts = np.cumsum(~accepted) / max(1, (~accepted).sum())
    false_rejects = 1 - np.cumsum(accepted) / max(1, accepted.sum())
    at = int(np.argmin(np.abs(false_accepts - false_rejects)))
    return float((false_accepts[at] + false_rejects[at]) / 2), float(scores[at])


def rank_1(people: Sequence[Float32]) -> float:
    """The share of pictures that are most similar to the right person, with the first picture of each enrolled."""
    enrolled = np.stack([each[0] for each in people])
    owner = np.repeat(np.arange(len(people)), [len(each) - 1 for each in people])
    if not len(owner):
        return 0.0
    probes = np.concatenate([each[1:] for each in people])
    return float(((probes @ enrolled.T).argmax(axis=1) == owner).mean())
