"""`python -m tests.config.regenerate`: write the tables of options in the READMEs, and the schema of config.yaml."""

from __future__ import annotations

import re

from edge_app.config import json_schema, reference
from tests.conftest import PROJECT

TABLE = re.compile(r"(<!-- edge-app options (\w+) --markdown -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)
READMES = {
    block: PROJECT / f"edge_app/{folder}/README.md"
    for block, folder in {"source": "sources", "sinks": "sinks", "heads": "heads", "rules": "rules"}.items()
}


def generated(text: str) -> str:
    """A README with its tables as they should be."""
    return TABLE.sub(lambda m: f"{m[1]}{reference.as_markdown(reference.sections(m[2]))}{m[4]}", text)


def main() -> None:
    for path in READMES.values():
        path.write_text(generated(path.read_text(encoding="utf-8")), encoding="utf-8")
    json_schema.FILE.write_text(json_schema.json_schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
