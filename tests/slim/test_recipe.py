from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.errors import ConfigError
from edge_app.slim import recipe

GOOD = "backbone: edge\nheads:\n  kind: {task: classify, data: pictures}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return path


def test_reads_a_recipe_with_paths_relative_to_it(tmp_path):
    found = recipe.load(written(tmp_path, GOOD))
    assert found.heads["kind"].data == tmp_path / "pictures"
    assert (found.backbone, found.input.width) == ("edge", 320)


def test_a_run_is_identified_by_what_changes_its_result(tmp_path):
    first = recipe.load(written(tmp_path, GOOD)).fingerprint("data")
    assert recipe.load(written(tmp_path, GOOD + "checkpoint_every: 7\n")).fingerprint("data") == first
    assert recipe.load(written(tmp_path, GOOD + "rate: 0.01\n")).fingerprint("data") != first
    assert recipe.load(written(tmp_path, GOOD)).fingerprint("other data") != first


@pytest.mark.parametrize(("text", "message"), [
    ("heads: {}\n", "heads: found none"),
    (GOOD.replace("edge", "mobilenet_v4"), "backbone: found 'mobilenet_v4'; did you mean 'mobilenet_v"),
    (GOOD + "input: {width: 100, height: 64}\n", "input.width: found 100; expected a multiple of 32"),
    (GOOD + "stpes: 3\n", r"r\.yaml:4: unknown option 'stpes'; did you mean 'steps'"),
    (GOOD + "batch: 1\n", r"r\.yaml:4: batch"),
    (GOOD.replace("classify", "clasify"), r"r\.yaml:3: heads\.kind\.task: found 'clasify'"),
    (GOOD.replace("kind", "backbone", 1).replace("  kind", "  backbone"), "heads: found the name 'backbone'"),
    (GOOD.replace("kind", "'a b'"), "heads: found the name 'a b'"),
])  # fmt: skip
def test_mistakes_are_one_line(tmp_path, text, message):
    if "'backbone'" in message:
        text = GOOD.replace("  kind:", "  backbone:")
    with pytest.raises(ConfigError, match=message) as caught:
        recipe.load(written(tmp_path, text))
    assert "\n" not in str(caught.value)
