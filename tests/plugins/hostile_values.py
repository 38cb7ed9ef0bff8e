"""Hostile values of options as YAML text, by type, for the contract of all plug-ins.

Not here: values that would leave loopback. Every file name is relative, so that it is inside the test's folder.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from edge_app.options import Option, Range, Secret, Url

TEXTS = (
    "",
    "\0",
    "\ud800",
    "\x1b[31m",
    "line\nbreak",
    "\u202e",
    "x" * 300,
    "${NONE}",
    "${HOME}",
    "+/#",
    "..",
    "%00%ff",
    "digits",
    "0",
    "a..b",
    "a" * 64,
    "\u2100.com",
)
NUMBERS = ("0", "-1", "1e308", "1e999", "-1e999", "5e-324", "-0.0", "9" * 15, "1000000000", "9" * 5000, ".5", "0x10")
URL_ENDS = (
    "127.0.0.1:99999/x",
    "127.0.0.1:0/",
    "[::1/x",
    "[127.0.0.1]/",
    "a..b/",
    "a" * 64 + "/",
    "127.0.0.1:" + "9" * 5000,
    "127.0.0.1/\ud800",
    "127.0.0.1/\0",
    "127.0.0.1/" + "x" * 5000,
    "u:p/w@127.0.0.1/",
    "u:p#w@127.0.0.1/",
    "u:p[w@127.0.0.1/",
    "127.0.0.1:\uff18/",
    "127.0.0.1:1/",
    "",
)

text = st.one_of(st.sampled_from(TEXTS), st.text(st.characters(), max_size=20)).map(json.dumps)
number = st.one_of(st.sampled_from(NUMBERS), st.integers().map(str), st.floats().map(str))
urls = st.builds("{}://{}".format, st.sampled_from(["http", "rtsp", "x", ""]), st.sampled_from(URL_ENDS)).map(
    json.dumps
)
scalar = st.one_of(text, number, urls, st.sampled_from(["true", "null", "~", "''", "[]", "{}", "[[[[]]]]"]))
anything = st.one_of(
    scalar,
    st.lists(scalar, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
    st.sampled_from([f"[{'0, ' * 200}0]", f"[{'[0, 0], ' * 100}[0, 0]]"]),
)


def document(options: Iterable[Option]) -> st.SearchStrategy[str]:
    """A block in which most options have a value of their type; some are hostile, some are left out."""
    values = {
        option.name: st.one_of(of_type(option.annotation), of_type(option.annotation), anything) for option in options
    }
    blocks = st.fixed_dictionaries({}, optional=values)
    return st.one_of(blocks, st.fixed_dictionaries(values)).map(
        lambda block: "".join(f"{name}: {value}\n" for name, value in block.items()) or "{}"
    )


def of_type(annotation: Any) -> st.SearchStrategy[str]:
    """Values that the reader may accept for this type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(args)
    if origin in (Union, types.UnionType):
        return st.one_of([of_type(each) for each in args])
    if origin is Literal:
        return st.sampled_from([str(each) for each in args])
    if origin in (tuple, list):
        variadic = len(args) == 1 or args[-1] is Ellipsis
        parts = st.lists(of_type(args[0]), max_size=5) if variadic else st.tuples(*map(of_type, args))
        return parts.map(lambda values: f"[{', '.join(values)}]")
    if origin in (dict, Mapping):
        block = st.dictionaries(text, of_type(args[1]), max_size=3)
        return block.map(lambda values: "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}")
    if dataclasses.is_dataclass(annotation):
        if annotation is Secret:
            return st.sampled_from(["env:NONE", "env:HOME", "file:none", "file:.", "credential:none", "file:/dev/zero"])
        fields = {field.name: anything for field in dataclasses.fields(annotation)}
        return st.fixed_dictionaries({}, optional=fields).map(
            lambda values: "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"
        )
    return _scalar(annotation)


def _annotated(args: tuple[Any, ...]) -> st.SearchStrategy[str]:
    for bound in args[1:]:
        if isinstance(bound, Url):
            ends = st.sampled_from(URL_ENDS)
            return st.builds("{}://{}".format, st.sampled_from(bound.schemes), ends).map(json.dumps)
        if isinstance(bound, Range):
            low = max(bound.low, -1000)
            inside = {low, low + 1, min(bound.high, 1000)}  # not all of memory for a picture
            return st.sampled_from(sorted(str(int(each) if args[0] is int else each) for each in inside))
    return of_type(args[0])


def _scalar(annotation: Any) -> st.SearchStrategy[str]:
    if annotation is Path:
        return st.sampled_from(["none", "''", "'.'", "file", "'" + "x" * 255 + "'", "'" + "x" * 256 + "'", "'a/b'"])
    plain = {bool: st.sampled_from(["true", "false"]), int: number, float: number, str: text}
    return plain.get(annotation, st.just("null"))
