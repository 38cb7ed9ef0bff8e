"""A gallery in memory: people with their embeddings, and the search for the most similar one.

Not here: its file (file.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.scalars import checked_text

Float32 = NDArray[np.float32]
MAX_PEOPLE, MAX_EMBEDDINGS, MAX_DIMENSION = 10_000, 100_000, 4096
_MAX_NAME = 64
_UNIT = 1e-2  # how far the length of an embedding may be from 1
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """embeddings: (N, D) float32, of unit length, one for each picture. added: UTC, RFC 3339.

    pictures: PNG files of the faces, if they were kept; otherwise ().
    """

    name: str
    added: str
    embeddings: Float32
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """head, model: of the embeddings: the name of the head, and a hash of its graph. dimension: 0 without people.

    Raises ValueError, in the constructor, if the people do not fit together or exceed the limits.
    """

    head: str
    model: str
    people: tuple[Person, ...] = ()
    _matrix: Float32 = field(init=False)
    _owner: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.people) > MAX_PEOPLE:
            raise ValueError(f"found {len(self.people)} people; expected at most {MAX_PEOPLE}")
        names = [person.name for person in self.people]
        if len(set(names)) != len(names):
            raise ValueError("found a name twice; expected each once")
        for person in self.people:
            if checked_name(person.name) != person.name:
                raise ValueError("found a name with white space at its ends")
            _check_embeddings(person.embeddings)
        if len({person.embeddings.shape[1] for person in self.people}) > 1:
            raise ValueError("found embeddings of different lengths")
        counts = [len(person.embeddings) for person in self.people]
        if sum(counts) > MAX_EMBEDDINGS:
            raise ValueError(f"found {sum(counts)} embeddings; expected at most {MAX_EMBEDDINGS}")
        matrix = np.concatenate([person.embeddings for person in self.people]) if counts else np.empty((0, 0))
        matrix = np.ascontiguousarray(matrix, np.float32)
        parts = zip(self.people, np.split(matrix, np.cumsum(counts)[:-1]) if counts else ())
        # Views of the matrix, so that the embeddings are in memory once.
        object.__setattr__(self, "people", tuple(replace(person, embeddings=part) for person, part in parts))
        object.__setattr__(self, "_matrix", matrix)
        object.__setattr__(self, "_owner", np.repeat(np.arange(len(counts)), counts))

    @property
    def dimension(self) -> int:
        """The length of an embedding; 0 without people."""
        return int(self._matrix.shape[1])

    def person(self, name: str) -> Person | None:
        """The person of this name, if there is one."""
        return next((person for person in self.people if person.name == name), None)

    def search(self, vectors: Float32) -> tuple[NDArray[np.intp], Float32]:
        """The most similar person for each vector, an index into `people`, and the cosine similarity.

        vectors: (M, D) float32, of unit length. Raises ValueError without people, or for another D.
        """
        if not self.people or vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ValueError(f"found vectors {vectors.shape}; expected (M, {self.dimension})")
        similarity = self._matrix @ vectors.T  # (N, M)
        best = similarity.argmax(axis=0)
        return self._owner[best], similarity[best, np.arange(len(vectors))]

    def with_person(self, person: Person) -> Gallery:
        """The gallery with a person added, or replaced if the name is known."""
        known = self.person(person.name) is not None
        others = tuple(person if each.name == person.name else each for each in self.people)
        return Gallery(self.head, self.model, others if known else (*others, person))

    def without(self, name: str) -> Gallery:
        """The gallery without a person. Raises KeyError if there is none of this name."""
        if self.person(name) is None:
            raise KeyError(name)
        return Gallery(self.head, self.model, tuple(person for person in self.people if person.name != name))


def checked_name(text: str) -> str:
    """The name of a person, without white space at its ends. Raises ConfigError."""
    name = _SPACES.sub(" ", text).strip()
    try:
        checked_text(name)
    except ValueError:
        name = ""
    if not 0 < len(name) <= _MAX_NAME:
        raise ConfigError(f"found the name '{foreign_text(text)}'; expected 1 to {_MAX_NAME} printable characters")
    return name


def joined(embeddings: Sequence[Float32]) -> Float32:
    """Embeddings (D,) as one array (N, D)."""
    return np.stack([np.asarray(each, np.float32) for each in embeddings])


def _check_embeddings(embeddings: Float32) -> None:
    if embeddings.ndim != 2 or embeddings.dtype != np.float32 or not 0 < embeddings.shape[1] <= MAX_DIMENSION:
        raise ValueError(f"found embeddings {embeddings.dtype}{embeddings.shape}; expected float32(N, D)")
    if not len(embeddings):
        raise ValueError("found a person without embeddings")
    length = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if not (np.abs(length - 1) < _UNIT).all():  # false for NaN
        raise ValueError("found embeddings that are not of unit length")
