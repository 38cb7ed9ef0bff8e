"""The example in the README of rules/ is a valid configuration with every type of rule."""

from edge_app import config, registry
from tests.conftest import PROJECT

README = PROJECT / "edge_app" / "rules" / "README.md"


def test_the_example_loads_and_shows_every_rule(config_file):
    example = README.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    loaded = config.load(config_file("source: {type: synthetic}\nmodel: {path: PROJECT/models/digits}\n" + example))
    assert {rule.type for rule in loaded.rules} <= set(registry.names("rules"))
    assert len(loaded.rules) >= 6
