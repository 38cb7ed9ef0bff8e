"""model.yaml as an attacker or a damaged disk may leave it: a model, or ModelError with lines for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_app.errors import ModelError
from edge_app.model import manifest
from tests.conftest import PROJECT

VALID = (PROJECT / "models/digits/model.yaml").read_text(encoding="utf-8")
WHOLE = yaml.safe_load(VALID)
DOCUMENT = {**WHOLE, "sha256": {}, "memory": dict(list(WHOLE["memory"].items())[:1])}  # the rest repeats itself

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["~", "1e999", "-0", "0x10", "1:30", "..", "/etc/passwd", "a\0b", "\ud800", "x" * 300, "9" * 5000]),
)
documents = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A copy of the model's folder without its graphs, which are not read here."""
    path = tmp_path_factory.mktemp("model")
    for name in WHOLE["sha256"]:
        (path / name).touch()
    return path


def load(folder: Path, data: bytes) -> manifest.Manifest | None:
    """The manifest, whose methods work; None if it was rejected with clear lines. Other exceptions fail the test."""
    (folder / manifest.FILE).write_bytes(data)
    try:
        loaded = manifest.load(folder)
    except ModelError as exc:
        for line in str(exc).split("\n"):
            assert line.startswith(f"{folder / manifest.FILE}:")
            assert line.isprintable()
            assert len(line) < 1000
        return None
    assert loaded.heads
    assert all(name.isprintable() for name in (loaded.name, *loaded.heads))
    assert all(not Path(name).is_absolute() for name in loaded.files())
    for target in loaded.targets():
        loaded.backbone_graphs(target)
        loaded.of_target(target)
    return loaded


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value of a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(each for key, child in children for each in paths(child, (*path, key)))]


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy


def dumped(document: Any) -> bytes:
    return yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")


PATHS = [path for path in paths(DOCUMENT) if path]
fuzz = settings(max_examples=200, suppress_health_check=list(HealthCheck))


def test_the_valid_document_is_loaded_from_its_data(folder):
    assert load(folder, dumped(WHOLE)) is not None
    assert load(folder, dumped(DOCUMENT)) is not None


@fuzz
@given(document=documents)
def test_an_arbitrary_document_is_rejected_or_loaded(folder, document):
    load(folder, dumped(document))


@fuzz
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_are_rejected(folder, data):
    assert load(folder, data) is None


@fuzz
@given(path=st.sampled_from(PATHS), value=documents)
def test_any_value_may_be_replaced(folder, path, value):
    load(folder, dumped(replaced(DOCUMENT, path, value)))


@fuzz
@given(source=st.sampled_from(PATHS), target=st.sampled_from(PATHS))
def test_any_two_values_may_be_exchanged(folder, source, target):
    value = DOCUMENT
    for key in source:
        value = value[key]
    load(folder, dumped(replaced(DOCUMENT, target, value)))


@fuzz
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.sampled_from(list("\0\n\t :,-{}[]&*!|>'\"%@`#?9a~"))), max_size=5
    ),
    cut=st.integers(0, len(VALID)) | st.just(0),
)
def test_characters_may_be_replaced_and_cut(folder, changes, cut):
    text = list(VALID)
    for position, character in changes:
        text[position] = character
    load(folder, "".join(text[: len(text) - cut]).encode())


@pytest.mark.parametrize("size", ["width: 1000000000", "width: 8193", "height: 100000"])
def test_an_input_that_no_machine_can_hold_is_rejected(folder, size):
    name, value = size.split(": ")
    (folder / manifest.FILE).write_bytes(dumped(replaced(DOCUMENT, ("input", name), int(value))))
    found = rf"model.yaml:\d+: input.{name}: found '{value}'; expected a whole number 1 to 8192"
    with pytest.raises(ModelError, match=found):
        manifest.load(folder)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "\u2028"])
def test_a_name_with_a_control_character_is_rejected(folder, name):
    heads = {name: DOCUMENT["heads"]["scene"]}
    (folder / manifest.FILE).write_bytes(dumped({**DOCUMENT, "heads": heads}))
    with pytest.raises(ModelError, match=r"model.yaml:\d+: a name: found the control character U\+[0-9A-F]{4}"):
        manifest.load(folder)


@pytest.mark.parametrize("label", [b"cat\x1b[31m", b"a\0b", b"\xff"])
def test_a_label_file_with_control_characters_is_rejected(folder, label):
    (folder / "labels.txt").write_bytes(b"dog\n" + label + b"\n")
    data = dumped(replaced(DOCUMENT, ("heads", "scene"), {**DOCUMENT["heads"]["scene"], "labels": "labels.txt"}))
    (folder / manifest.FILE).write_bytes(data)
    with pytest.raises(ModelError, match=r"heads.scene.labels: 'labels.txt': (found the control|not UTF-8)") as error:
        manifest.load(folder)
    assert "\n" not in str(error.value)
