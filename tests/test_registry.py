"""Plug-ins are found by type: built-in ones by file name, those of installed packages by entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_app import registry
from edge_app.errors import ConfigError
from tests.plugins import readmes

SINK = """
class Sink:
    batch_limit = 1
    def __init__(self, context, *, path: str = ""):
        self.path = path
    def send(self, batch):
        return [message.id for message in batch]
    def idle(self):
        pass
    def close(self):
        pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package: package(name, code, entry_points of sinks) in a folder that is on sys.path for the test."""
    folder = tmp_path / "installed"
    monkeypatch.syspath_prepend(str(folder))
    modules = set(sys.modules)

    def add(name: str, code: str | None, *points: str) -> None:
        readmes.install(folder, name, name, code, "\n".join(["[edge_app.sinks]", *points, ""]))
        registry.installed.cache_clear()

    yield add
    registry.installed.cache_clear()
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def error_of(type_: str) -> str:
    with pytest.raises(ConfigError) as caught:
        registry.find("sinks", type_)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_finds_a_class_by_module_and_by_class_name(package):
    package("kafka_sink", SINK + "class Other(Sink): pass\n", "kafka = kafka_sink", "redpanda = kafka_sink:Other")
    assert {"kafka", "redpanda", "jsonl"} <= set(registry.names("sinks"))
    assert registry.find("sinks", "redpanda").__name__ == "Other"
    assert [option.name for option in registry.options("sinks", "kafka")] == ["path"]
    assert registry.build("sinks", "kafka", None, path="x").path == "x"


def test_a_built_in_type_takes_precedence_with_a_warning(package, caplog):
    package("second", SINK, "memory = second")
    assert registry.find("sinks", "memory").__module__ == "edge_app.sinks.memory"
    registry.names("sinks")
    assert caplog.messages == ["sinks 'memory' of package second 0.1 is ignored: edge-app has a built-in type 'memory'"]


def test_a_type_of_two_packages_is_rejected(package):
    package("first", SINK, "kafka = first")
    package("second", SINK, "kafka = second")
    assert error_of("kafka") == (
        "sinks 'kafka': found it in 2 packages: package first 0.1, package second 0.1; expected one of them"
    )


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        (None, "absent", "found no module 'absent'; expected it in the package"),
        (SINK, "broken:Sonk", "found the class Sink; expected the class Sonk"),
        ("", "broken", "found no class; expected the class Sink"),
        ("import nonesuch.part", "broken", "needs the library nonesuch; expected: the Python package nonesuch"),
        ("1 / 0", "broken", "import failed: ZeroDivisionError: division by zero; expected an importable module"),
    ],
)
def test_a_broken_entry_point_is_reported_only_if_its_type_is_used(package, code, value, expected):
    package("broken", code, f"kafka = {value}")
    assert "kafka" in registry.names("sinks")
    registry.build("sinks", "memory", None)
    assert error_of("kafka") == f"sinks 'kafka' (entry point 'kafka = {value}' of package broken 0.1): {expected}"


def test_loadable_leaves_out_a_broken_package(package, caplog):
    package("broken", "1 / 0", "kafka = broken")
    assert "kafka" not in registry.loadable("sinks")
    assert "ZeroDivisionError" in caplog.text


def test_an_unknown_type_names_the_nearest_installed_one(package):
    package("kafka_sink", SINK, "kafka = kafka_sink")
    assert error_of("kafak") == "unknown type 'kafak'; did you mean 'kafka'?"


def test_the_missing_library_of_a_package_names_its_extra(package):
    code = SINK.replace("        self.path = path\n", "        import nonesuch\n").replace(
        "batch_limit", "extra = 'all'; b"
    )
    package("kafka_sink", code, "kafka = kafka_sink")
    with pytest.raises(ConfigError) as caught:
        registry.build("sinks", "kafka", None)
    assert str(caught.value) == ("sinks 'kafka' needs the library nonesuch; expected: pip install 'kafka_sink[all]'")


@pytest.mark.parametrize("exception", ["ValueError", "UnicodeError", "RecursionError", "OverflowError", "KeyError"])
def test_an_exception_of_a_constructor_is_one_line_without_its_message(package, exception):
    package("kafka_sink", SINK.replace("self.path = path", f"raise {exception}(path)"), "kafka = kafka_sink")
    with pytest.raises(ConfigError) as caught:
        registry.build("sinks", "kafka", None, path="hunter2")
    where = "sinks 'kafka' (entry point 'kafka = kafka_sink' of package kafka_sink 0.1)"
    found = f"the constructor raised {exception} (kafka_sink.py:5)"
    assert str(caught.value) == f"{where}: {found}; expected options that it accepts"


@pytest.mark.parametrize(
    "statement",
    [
        "import edge_app.cli",
        "edge_app.registry.find('sinks', 'memory')",
        "edge_app.registry.options('sources', 'video')",
    ],
)
def test_packages_are_not_scanned_without_need(statement):
    script = f"import edge_app.registry\n{statement}\nprint(edge_app.registry.installed.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_a_start_without_installed_plug_ins_does_not_load_importlib_metadata():
    if any(registry.installed().values()):
        pytest.skip("a plug-in is installed in this environment")
    script = "import sys, edge_app.registry as r; r.installed(); print('importlib.metadata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("kind", "type_"), [(k, t) for k in readmes.KINDS for t in registry.names(k)])
def test_every_built_in_plug_in_keeps_to_its_contract(kind, type_):
    plugin = registry.find(kind, type_)
    registry.options(kind, type_)
    assert plugin.__doc__, "the options of a plug-in are explained in the docstring of its class"
