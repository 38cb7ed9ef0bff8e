"""A dataclass or a constructor as a schema: which annotations are accepted, and the words for each type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from edge_app.errors import ConfigError
from edge_app.options import REQUIRED, Option, Point, Positive, Range, Secret, expectation, options_of


@dataclass
class Block:
    size: Positive
    name: str = "x"


class Plugin:
    def __init__(self, context: object, *, size: Positive, name: str = "x") -> None:
        pass


@pytest.mark.parametrize("schema", [Block, Plugin])
def test_names_types_and_defaults_are_the_options(schema):
    assert options_of(schema) == (Option("size", Positive, REQUIRED), Option("name", str, "x"))


def with_option(annotation: object) -> type:
    class Schema:
        def __init__(self, *, value=None) -> None:
            pass

    Schema.__init__.__annotations__["value"] = annotation
    return Schema


@pytest.mark.parametrize(
    "annotation",
    [
        bool, int, float, str, Path, Secret, Literal["a", 1], Point, tuple[int, ...], list[str], dict[str, int],
        Annotated[float, Range(0, 1)] | None, tuple[Point, ...] | Literal["auto"], Block,
    ],
)  # fmt: skip
def test_accepts_every_type_that_can_be_read(annotation):
    assert options_of(with_option(annotation))[0].annotation == annotation


@pytest.mark.parametrize("annotation", [set[int], bytes, complex, Any, list, tuple, dict, dict[int, str], int | bytes])
def test_rejects_a_type_that_cannot_be_read(annotation):
    with pytest.raises(ConfigError, match=r"found option 'value' of type '.*'; expected bool, int, float, str, Path"):
        options_of(with_option(annotation))


def test_rejects_an_option_without_annotation():
    class Schema:
        def __init__(self, *, score=0.5) -> None:
            pass

    with pytest.raises(ConfigError, match="found option 'score' without a type annotation; expected one, such as"):
        options_of(Schema)


@pytest.mark.parametrize("annotation", ["Unknown", "1 / 0", "int[", "os.nothing", "'\\ud800'.encode()"])
def test_rejects_an_annotation_that_cannot_be_resolved(annotation):
    with pytest.raises(ConfigError, match="found an annotation that cannot be resolved"):
        options_of(with_option(annotation))


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Positive, "a whole number at least 1"),
        (Annotated[float, Range(0, 1)] | None, "a number 0 to 1 or null"),
        (Literal["a", "b"], "a or b"),
        (tuple[str, ...], "a list, each text"),
        (Point, "a list of 2: a number 0 to 1, a number 0 to 1"),
        (Block, "a block of options"),
        (Secret, "credential:NAME, file:PATH or env:NAME"),
    ],
)
def test_a_type_in_the_words_of_a_message(annotation, words):
    assert expectation(annotation) == words
