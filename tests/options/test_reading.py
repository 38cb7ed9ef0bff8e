"""YAML into typed options: the implicit types of YAML do not apply, and every message."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from edge_app.errors import ConfigError
from edge_app.options import WRONG, Range, read_dataclass, read_value
from edge_app.options.document import MAX_BYTES, Problems, entries, load_yaml, parse_yaml


@dataclass(frozen=True)
class Example:
    count: Annotated[int, Range(1, 9)]
    ratio: float = 0.5
    name: str = "x"
    mode: Literal["slow", "fast"] = "slow"
    path: Path | None = None
    points: tuple[tuple[float, float], ...] = ()


def problems_of(text: str) -> list[str]:
    problems = Problems(Path("dir/c.yaml"))
    root = parse_yaml(text.encode(), problems)
    if root is not None:
        read_dataclass(root, Example, "", problems)
    try:
        problems.raise_if_any()
    except ConfigError as exc:
        return list(exc.problems)
    return []


def read(text: str, annotation: object):
    problems = Problems(Path("c.yaml"))
    root = parse_yaml(f"x: {text}".encode(), problems)
    assert root is not None, problems.found
    return read_value(entries(root)["x"], annotation, "x", problems)


def test_reads_a_valid_file_into_the_dataclass():
    problems = Problems(Path("dir/c.yaml"))
    root = parse_yaml(b"count: 3\nratio: 1e-3\nmode: fast\npath: a/b\npoints: [[0, 1], [0.5, .5]]", problems)
    found = read_dataclass(root, Example, "", problems)
    assert found == Example(3, 0.001, "x", "fast", Path("dir/a/b"), ((0.0, 1.0), (0.5, 0.5)))


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("no", str, "no"),  # YAML 1.1 reads False
        ("1:30", str, "1:30"),  # … 90
        ("010", str, "010"),  # … 8
        ("on", bool, WRONG),
        ("true", bool, True),
        ("010", int, WRONG),
        ("1:30", int, WRONG),
        ("0x10", int, WRONG),
        ("1_000", int, WRONG),
        ("-7", int, -7),
        ("'7'", int, WRONG),
        (".5", float, 0.5),
        (".inf", float, WRONG),
        (".nan", float, WRONG),
        (".", float, WRONG),
        ("5", float, 5.0),
        ("2.5", int, WRONG),
        ("~", str, WRONG),
        ("'~'", str, "~"),
        ("null", int | None, None),
        ("7", int | None, 7),
        ("90", Literal[0, 90], 90),
        ("91", Literal[0, 90], WRONG),
        ("[1, 2]", tuple[int, int], (1, 2)),
        ("[1]", tuple[int, int], WRONG),
        ("{a: 1}", dict[str, int], {"a": 1}),
        ("{a: b}", dict[str, int], WRONG),
    ],
)
def test_scalars_are_read_by_the_expected_type(text: str, annotation: object, value: object):
    assert read(text, annotation) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count: 3\nnmae: y", "dir/c.yaml:2: unknown option 'nmae'; did you mean 'name'?"),
        (
            "count: 3\nzzz: y",
            "dir/c.yaml:2: unknown option 'zzz'; expected one of: count, mode, name, path, points, ratio",
        ),
        ("ratio: 1", "dir/c.yaml:1: count: missing; expected a whole number 1 to 9"),
        ("count: 12", "dir/c.yaml:1: count: found '12'; expected a whole number 1 to 9"),
        ("count: 3\nmode: quick", "dir/c.yaml:2: mode: found 'quick'; expected slow or fast"),
        ("count: 3\nratio:", "dir/c.yaml:2: ratio: found nothing; expected a number"),
        (
            "count: 3\npoints: [[1]]",
            "dir/c.yaml:2: points[0]: found a list of 1; expected a list of 2: a number, a number",
        ),
        ("count: 3\ncount: 4", "dir/c.yaml:2: 'count' is given twice; first on line 1"),
        (
            "count: &a 3\nratio: *a",
            "dir/c.yaml:2: found an alias (*name); expected the value, in quotes if it starts with *",
        ),
        (
            "count: !!python/object:os.system 3",
            "dir/c.yaml:1: found a tag (!name); expected a plain value, in quotes if it starts with !",
        ),
        ("- 1", "dir/c.yaml:1: found a list of 1; expected 'option: value' lines"),
        ("", "dir/c.yaml: found an empty file; expected 'option: value' lines"),
        ("count: 3\n  ratio: 4", "dir/c.yaml:2: not valid YAML: mapping values are not allowed here"),
        ("count: 'open", "dir/c.yaml:1: not valid YAML: found unexpected end of stream"),
        ("\0", "dir/c.yaml: not valid YAML: unacceptable character #x0000: special characters are not allowed"),
        ("{[1]: 2}", "dir/c.yaml:1: found a list of 1 as a name; expected a word"),
        ("count: " + "[" * 30 + "]" * 30, "dir/c.yaml:1: nested deeper than 20 levels"),
    ],
)
def test_a_mistake_is_one_line_with_its_location(text: str, expected: str):
    assert problems_of(text) == [expected]


def test_reports_all_mistakes_at_once_in_file_order():
    found = problems_of("mode: quick\nratio: x\nnmae: y\ncount: 0")
    assert [line.split(":")[1] for line in found] == ["1", "2", "3", "4"]


def test_rejects_an_alias_bomb_before_it_is_expanded():
    bomb = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi"))
    assert problems_of(bomb) == [
        "dir/c.yaml:2: found an alias (*name); expected the value, in quotes if it starts with *"
    ]


def test_deep_nesting_does_not_exhaust_the_stack():
    (problem,) = problems_of("[" * 100_000)
    assert "not valid YAML" in problem or "nested" in problem


def test_rejects_an_oversized_file(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    problems = Problems(path)
    assert load_yaml(path, problems) is None
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        problems.raise_if_any()


def test_a_missing_file_is_one_line(tmp_path: Path):
    problems = Problems(tmp_path / "c.yaml")
    assert load_yaml(tmp_path / "c.yaml", problems) is None
    with pytest.raises(ConfigError, match=r"c.yaml: cannot be read: No such file or directory; expected a YAML file"):
        problems.raise_if_any()
