"""The documents name what exists: files, links, commands, plug-ins and terms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SKIPPED = {".venv", ".git", "build", "dist", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache"}
STATE = PROJECT / "state"  # of a run in this folder; edge_app/state is a package
FILES = [
    p
    for p in PROJECT.rglob("*")
    if p.is_file() and not SKIPPED & set(p.relative_to(PROJECT).parts) and STATE not in p.parents
]
DOCUMENTS = [p for p in FILES if p.suffix == ".md"]
CODE = [p for p in FILES if p.suffix == ".py"]
SCRIPTS = [p for p in FILES if p.suffix in (".sh", ".yaml", ".toml", ".service") or p.name in ("run", "S99edge-app")]
NAMES = {p.name for p in FILES}
PATHS = {p.relative_to(PROJECT).as_posix() for p in FILES}

# A path or a file name, as text mentions it. Names with placeholders, and what a user or a device makes, are not ours.
MENTION = re.compile(r"(?<![\w/.*<>-])((?:[\w.-]+/)*[\w-]+\.(?:py|md|sh))(?![\w*])")
FOREIGN = {
    "consumer.py",  # the reader's own script, in the README of sinks
    "RkLunch-stop.sh",
    "RkLunch.sh",
    "plugin.py",  # an example in errors.py
    "setup.py",
    "evaluate.py",
}


def identity(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def comments_and_docstrings(path: Path) -> str:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    docs = [ast.get_docstring(node) or "" for node in nodes]
    comments = [line.partition("  # ")[2] or line.strip()[1:] for line in source.splitlines() if "# " in line]
    return "\n".join([*docs, *comments])


def texts_of(path: Path) -> tuple[str, set[str]]:
    """The text that may name files, and the files of the reader's own that a document's examples create."""
    if path.suffix == ".py":
        return comments_and_docstrings(path), set()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        fences = re.findall(r"```.*?```", text, flags=re.DOTALL)
        examples = re.findall(r"it is one file, `([^`]+)`, with its test, `([^`]+)`", text)
        readers_own = {name for pair in examples for name in pair} | set(MENTION.findall("\n".join(fences)))
        readers_own |= set(re.findall(r"this file as `([^`]+)`", text))
        return re.sub(r"```.*?```", "", text, flags=re.DOTALL), readers_own
    return "\n".join(line.partition("#")[2] for line in text.splitlines()), set()


def mentioned(text: str) -> set[str]:
    return {name for name in MENTION.findall(text) if "://" not in name and name not in FOREIGN}


def exists(name: str, beside: Path) -> bool:
    """Whether a mentioned file exists: seen from the project, the package or the text, or anywhere by its name."""
    if name in PATHS or f"edge_app/{name}" in PATHS or (beside / name).exists():
        return True
    if "/" in name:
        return any(path.endswith("/" + name) for path in PATHS)
    return name in NAMES


@pytest.mark.parametrize("path", [*CODE, *DOCUMENTS, *SCRIPTS], ids=identity)
def test_every_file_that_a_text_names_exists(path: Path):
    text, readers_own = texts_of(path)
    missing = {name for name in mentioned(text) if not exists(name.removeprefix("./"), path.parent)}
    assert sorted(missing - readers_own) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=identity)
def test_every_link_of_a_document_leads_to_a_file(path: Path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", path.read_text(encoding="utf-8"))
    local = {link for link in links if "://" not in link}
    assert sorted(link for link in local if not (path.parent / link).exists()) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=identity)
def test_every_link_to_a_heading_leads_to_one(path: Path):
    for target, heading in re.findall(r"\]\(([^)#\s]*)#([\w-]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        text = ((path.parent / target) if target else path).read_text(encoding="utf-8")
        titles = {
            re.sub(r"[^\w -]", "", t.strip().lower()).replace(" ", "-") for t in re.findall(r"^#+ (.*)$", text, re.M)
        }
        assert heading in titles


def test_a_package_that_lists_modules_lists_all_of_them():
    for path in (PROJECT / "edge_app").rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        modules = {p.name for p in path.parent.glob("*.py") if not p.stem.startswith("_")}
        if re.search(r"^\w+\.py\s", text, re.M):
            assert sorted(name for name in modules if name not in text) == [], identity(path)


def test_the_glossary_has_at_most_30_terms():
    text = (PROJECT / "edge_app/README.md").read_text(encoding="utf-8").partition("## Glossary")[2]
    terms = re.findall(r"^\| (?!term|---)([^|]+) \|", text, re.M)
    assert 20 <= len(terms) <= 30
    assert len(set(terms)) == len(terms)


def test_directly_in_the_package_are_ten_modules_at_most():
    assert len(list((PROJECT / "edge_app").glob("*.py"))) <= 10


def test_modules_and_functions_stay_short():
    """The figures of CONTRIBUTING.md: median and largest module, 95th percentile and largest function."""
    modules, functions = [], []
    for path in (PROJECT / "edge_app").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        modules.append((source.count("\n"), identity(path)))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions.append((node.end_lineno - node.lineno + 1, f"{identity(path)}:{node.name}"))
    modules.sort()
    functions.sort()
    median, percentile = modules[len(modules) // 2], functions[len(functions) * 95 // 100]
    print(f"\n{len(modules)} modules, median {median[0]}, largest {modules[-1]}")
    print(f"{len(functions)} functions, 95th percentile {percentile[0]}, largest {functions[-1]}")
    assert median[0] <= 130
    assert modules[-1][0] <= 350, modules[-3:]
    assert percentile[0] <= 25
    assert functions[-1][0] <= 60, functions[-3:]


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in (".onnx", ".param", ".rknn")], ids=identity)
def test_a_graph_names_no_source_file_of_the_machine_that_made_it(path: Path):
    """PyTorch's exporter writes the stack of every layer into the file, with the paths of its author."""
    assert b'File "/' not in path.read_bytes()
