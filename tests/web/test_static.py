"""The files of the page: contrast of the colors, and references between the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_app import web

STATIC = Path(web.__file__).with_name("static")
PAGE, CSS = ((STATIC / name).read_text(encoding="utf-8") for name in ("index.html", "page.css"))
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")}


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2.2 defines it."""
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    darker, lighter = sorted((luminance(a), luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_has_a_contrast_of_at_least_4_5(scheme):
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[scheme]
    color = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    pairs = [(text, "back") for text in ("text", "quiet", "alert", "accent")] + [("on-accent", "accent")]
    found = {pair: contrast(color[pair[0]], color[pair[1]]) for pair in pairs}
    assert all(value >= 4.5 for value in found.values()), found


def test_contrast_is_that_of_the_standard():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_every_element_that_a_script_names_exists():
    ids = set(re.findall(r'id="([\w-]+)"', PAGE))
    for name, script in SCRIPTS.items():
        assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= ids, name


def test_every_module_that_is_imported_exists_and_exports_what_is_used():
    for name, script in SCRIPTS.items():
        for names, module in re.findall(r'import \{ ([^}]+) \} from "\./([\w.]+)"', script):
            exported = set(re.findall(r"export (?:const|function|async function|class) ([\w$]+)", SCRIPTS[module]))
            assert set(names.split(", ")) <= exported, (name, module)


def test_texts_of_the_camera_never_become_markup():
    for name, script in SCRIPTS.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script), name
