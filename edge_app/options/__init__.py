"""Typed options from YAML; every mistake is reported with its line.

document.py     YAML nodes with their lines
schema.py       a dataclass or a constructor as the schema of a block
reading.py      reading a block by its schema
scalars.py      limits of single values
name_lookup.py  addresses of a host, within a time limit
url.py          options that are network addresses
secret.py       references to secrets
extras.py       how to install the libraries of an extra
files.py        reading files that a user, a model or a peer supplies
"""

from edge_app.options.reading import WRONG, read_dataclass, read_options, read_value
from edge_app.options.schema import (
    REQUIRED,
    Fraction,
    Option,
    Point,
    Positive,
    Range,
    Seconds,
    expectation,
    options_of,
)
from edge_app.options.secret import Secret
from edge_app.options.url import Url

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
    "Url",
    "expectation",
    "options_of",
    "read_dataclass",
    "read_options",
    "read_value",
]
