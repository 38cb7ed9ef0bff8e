"""Typed options from YAML, with the line of every mistake.

document.py  YAML nodes with their lines
reading.py   a dataclass or a constructor as the schema of a block
secret.py    references to secrets
"""

from edge_app.options.reading import (
    REQUIRED,
    WRONG,
    Fraction,
    Option,
    Point,
    Positive,
    Range,
    Seconds,
    expectation,
    options_of,
    read_dataclass,
    read_options,
    read_value,
)
from edge_app.options.secret import Secret

__all__ = [
    "REQUIRED",
    "WRONG",
    "Fraction",
    "Option",
    "Point",
    "Positive",
    "Range",
    "Seconds",
    "Secret",
    "expectation",
    "options_of",
    "read_dataclass",
    "read_options",
    "read_value",
]
