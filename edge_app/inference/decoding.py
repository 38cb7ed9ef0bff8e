"""Call a head's decoder and check that its result keeps to the contract.

Not here: the decoders (heads/), what happens to a head that fails (stage.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.backends import Array
from edge_app.errors import ModelError
from edge_app.frame import Result
from edge_app.geometry.boxes import Transform
from edge_app.heads import Head
from edge_app.model.manifest import ManifestHead


def decode(head: Head, spec: ManifestHead, outputs: Mapping[str, Array], transform: Transform) -> Result:
    """Decode the outputs of one head, a batch of one.

    Raises ModelError if the result is not of the head's `result_type`, or its arrays have the wrong dtype or shape.
    """
    try:
        result = head.decode(outputs, transform)
    except (TypeError, ValueError) as exc:  # of the constructor of a Result, or of the decoder's own code
        raise ModelError(f"heads.{spec.name} (family {spec.family}): decode: {exc}") from exc
    if not isinstance(result, head.result_type):
        found, expected = type(result).__name__, head.result_type.__name__
        raise ModelError(f"heads.{spec.name} (family {spec.family}): decode: found {found}; expected {expected}")
    return result
