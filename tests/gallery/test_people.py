"""The gallery in memory: search, changes and what it rejects."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.errors import ConfigError
from edge_app.gallery.people import Gallery, Person, checked_name


def unit(rng, count, dimension=16):
    vectors = rng.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made(counts=(1, 3, 2), dimension=16, seed=0):
    rng = np.random.default_rng(seed)
    people = [Person(f"p{i}", "2026-01-01T00:00:00Z", unit(rng, n, dimension)) for i, n in enumerate(counts)]
    return Gallery("face", "abc", tuple(people))


def test_search_finds_the_most_similar_person_as_a_plain_loop_does():
    gallery = made((2, 1, 4, 3))
    probes = unit(np.random.default_rng(1), 20)
    person, similarity = gallery.search(probes)
    for probe, found, score in zip(probes, person, similarity):
        best = max((float(e @ probe), i) for i, each in enumerate(gallery.people) for e in each.embeddings)
        assert found == best[1]
        assert score == pytest.approx(best[0], abs=1e-6)


def test_search_rejects_vectors_of_another_length_and_an_empty_gallery():
    with pytest.raises(ValueError, match=r"found vectors \(1, 8\); expected \(M, 16\)"):
        made().search(np.zeros((1, 8), np.float32))
    with pytest.raises(ValueError, match="found vectors"):
        Gallery("face", "abc").search(np.zeros((1, 16), np.float32))


def test_people_are_added_replaced_and_removed():
    gallery = made()
    added = gallery.with_person(Person("new", "", unit(np.random.default_rng(5), 2)))
    assert [person.name for person in added.people] == ["p0", "p1", "p2", "new"]
    replaced = gallery.with_person(Person("p1", "", gallery.people[0].embeddings))
    assert [len(person.embeddings) for person in replaced.people] == [1, 1, 2]
    assert [person.name for person in gallery.without("p1").people] == ["p0", "p2"]
    with pytest.raises(KeyError):
        gallery.without("nobody")


@pytest.mark.parametrize(
    "embeddings",
    [
        np.zeros((1, 4), np.float32),
        np.full((1, 4), np.nan, np.float32),
        np.full((1, 4), np.inf, np.float32),
        np.ones((1, 4), np.float32),
        np.ones((0, 4), np.float32),
        np.ones(4, np.float32),
        np.eye(4)[:1],
    ],
    ids=["zeros", "nan", "infinite", "long", "none", "flat", "float64"],
)
def test_rejects_embeddings_that_are_no_unit_vectors(embeddings):
    with pytest.raises(ValueError, match="found"):
        Gallery("face", "abc", (Person("a", "", embeddings),))


def test_rejects_a_name_twice_and_embeddings_of_different_lengths():
    first, other = Person("a", "", np.eye(4, dtype=np.float32)[:1]), Person("b", "", np.eye(5, dtype=np.float32)[:1])
    with pytest.raises(ValueError, match="found a name twice"):
        Gallery("face", "abc", (first, first))
    with pytest.raises(ValueError, match="different lengths"):
        Gallery("face", "abc", (first, other))


def test_names_are_printable_and_have_no_white_space_at_their_ends():
    assert checked_name("  Ada   Lovelace ") == "Ada Lovelace"
    assert checked_name("Zoë Çelik") == "Zoë Çelik"
    for bad in ("", "  ", "a\0b", "a\x1b[31m", "x" * 65):
        with pytest.raises(ConfigError, match="expected 1 to 64 printable characters"):
            checked_name(bad)
