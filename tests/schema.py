"""The schema of published messages, closed: our own messages have no field that it does not name.

The published schema allows unknown fields, so that a consumer that validates accepts later optional ones.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema

from edge_app.messages import SCHEMA_FILE

PUBLISHED: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def strict(published: dict[str, Any] = PUBLISHED) -> jsonschema.Draft202012Validator:
    """A validator that rejects unknown fields, except in the free-form `value` of events and `status` of statuses."""
    schema = copy.deepcopy(published)
    schema["unevaluatedProperties"] = False  # results, events and statuses share the envelope
    for part in schema["$defs"].values():
        if part.get("type") == "object" and "properties" in part and part.get("additionalProperties") is not True:
            part["additionalProperties"] = False
    return jsonschema.Draft202012Validator(schema)
