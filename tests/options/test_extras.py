"""Install hints name libraries that exist: those of pyproject.toml."""

from __future__ import annotations

import importlib.metadata
import re

import pytest

from edge_app.options import extras
from tests.conftest import PROJECT

METADATA = [
    "numpy>=1.24",
    'aiohttp>=3.8.4; extra == "web"',
    "prometheus_client>=0.16 ; extra == 'web'",
    'rknn-toolkit-lite2>=2.3; platform_machine == "aarch64" and extra == "rknn"',
]
HINT = re.compile(r"""install\(['"](\w+)['"][,)]|edge-app\[(\w+)\]|^\s+extra = "(\w+)"$""", re.MULTILINE)


@pytest.fixture(autouse=True)
def metadata(monkeypatch: pytest.MonkeyPatch):
    def requires(package: str) -> list[str] | None:
        if package == "edge-app":
            return METADATA
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "requires", requires)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("web",), "pip install 'aiohttp>=3.8.4' 'prometheus_client>=0.16'"),
        (("rknn",), "pip install 'rknn-toolkit-lite2>=2.3' (where platform_machine == \"aarch64\")"),
        (("none",), "the libraries of the extra none"),
        (("all", "kafka_sink"), "pip install 'kafka_sink[all]'"),
    ],
)
def test_names_the_libraries_of_the_extra(arguments: tuple[str, ...], text: str):
    assert extras.install(*arguments) == text


def test_every_extra_that_a_message_names_is_in_pyproject():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11, to read pyproject.toml")
    known = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = set()
    for path in (PROJECT / "edge_app").rglob("*.py"):
        named |= {"".join(found) for found in HINT.findall(path.read_text(encoding="utf-8"))}
    assert {"web", "compiler", "bench"} <= named
    assert sorted(named - set(known) - {"all"}) == []


def test_no_message_tells_to_install_edge_app_from_an_index():
    """Nobody has published it there."""
    for path in (PROJECT / "edge_app").rglob("*.py"):
        if path.name != "extras.py":
            assert "pip install 'edge-app" not in path.read_text(encoding="utf-8"), path
