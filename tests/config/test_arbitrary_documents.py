"""Any configuration file gives a Config or a ConfigError of printable lines."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_app import config
from edge_app.errors import ConfigError
from tests.conftest import PROJECT

TEXT = (PROJECT / "config.yaml").read_text(encoding="utf-8").replace("models/digits", f"{PROJECT}/models/digits")
LINES = TEXT.splitlines(keepends=True)
PIECES = (
    "\0",
    "\t",
    "'",
    '"',
    "{",
    "]",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!!binary ",
    "? ",
    "| ",
    "%YAML 1.1\n---\n",
    "...\n",
    "null",
    "[[0, 0], [1, 1]]",
    "9" * 5000,
    "1e999",
    "/" + "x" * 300,
    "../" * 2000,
    '"\\ud800"',
    '"\\UFFFFFFFF"',
    "rtsp://u:p@127.0.0.1:99999/x",
    "\x85",
    "\u2028",
    "\ufeff",
    "\U0001f600",
)
SETTINGS = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def check(path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        config.load(path)
    except ConfigError as exc:
        problems = exc.problems
    else:
        problems = ()
    for problem in problems:
        assert problem.isprintable()
        assert len(problem) < 3000


@SETTINGS
@given(st.one_of(st.binary(max_size=200), st.text(st.characters(exclude_categories=()), max_size=200)))
def test_an_arbitrary_document_is_rejected(tmp_path, document):
    data = document if isinstance(document, bytes) else document.encode(errors="surrogatepass")
    check(tmp_path / "config.yaml", data)


@SETTINGS
@given(st.data())
def test_a_mutated_configuration_is_accepted_or_rejected(tmp_path, data):
    text = TEXT
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 30))
        text = text[:at] + data.draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=5))) + text[at + cut :]
    check(tmp_path / "config.yaml", text.encode())


@SETTINGS
@given(st.lists(st.sampled_from(LINES), max_size=60), st.data())
def test_shuffled_lines_of_a_configuration_are_accepted_or_rejected(tmp_path, lines, data):
    lines = [*LINES, *lines]
    order = data.draw(st.permutations(range(len(lines))))
    check(tmp_path / "config.yaml", "".join(lines[i] for i in order[:60]).encode())


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "? " * 5000,
        "- " * 5000,
        "{" * 5000,
        "a: &a [*a]",
        'a: "\\UFFFFFFFF"',
        f"%YAML 1.{'9' * 5000}\n---\na: 1",
        "a: |999999999999\n x",
        "a: !" + "x" * 10_000 + " 1",
        "x" * 200_000 + ": 1",
        "# " + "x" * 300_000,
        f"source: {{type: {'x' * 50_000}}}",
    ],
    ids=range(12),
)
def test_a_document_that_makes_the_parser_fail_is_rejected_in_one_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert caught.value.problems
    assert all(problem.isprintable() and len(problem) < 3000 for problem in caught.value.problems)
