"""Recognize the model family of a graph: by the metadata of its file, else its last layers, else its shapes.

Then the values of its outputs are checked (values.py). Not here: kinds of models that no family decodes
(unsupported.py), cutting post-processing off (tails/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from edge_app import registry
from edge_app.compiler import preprocessing, priors, structure, unsupported, values
from edge_app.compiler.evidence import Evidence, output_specs
from edge_app.compiler.metadata import Metadata
from edge_app.compiler.net import Net
from edge_app.compiler.preprocessing import Color, Preprocessing, Triple
from edge_app.errors import ConfigError, ModelError
from edge_app.heads import Head, HeadSpec, image_input, ultraface
from edge_app.heads._yolo_formats import READINGS
from edge_app.model.manifest import label_set
from edge_app.options import expectation

__all__ = [
    "Color",
    "Family",
    "Preprocessing",
    "Requested",
    "Triple",
    "build",
    "check_task",
    "head_spec",
    "recognize",
    "resolved",
]


@dataclass(frozen=True, slots=True)
class Requested:
    """The user's settings for a model. options: of its head, such as `version`; labels: () if none are given."""

    family: str | None = None
    labels: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """A recognized family. why: for the report. labels: a label set's name, or the labels if known.

    options: of the head, where its defaults do not fit.
    """

    name: str
    why: str
    preprocessing: Preprocessing
    labels: str | tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


_COCO = "coco80"
_FACES = ("blazeface", "retinaface", "scrfd", "yoloface", "yunet")
_ONE_LABEL = {"dbtext": "text", "anomaly": "anomaly"}
_FOR_ONE_TASK = ("classify", "detr", "embed", "instances", "obb", "pose", "segment", "yolo")
_WITH_FURTHER_VALUES = ("instances", "obb", "pose")
# of ultralytics; the others are in unsupported.py
_TASKS = {"detect": "yolo", "classify": "classify", "pose": "pose", "obb": "obb", "segment": "instances"}


def recognize(net: Net, metadata: Metadata, requested: Requested) -> Family:
    """Return the family of a graph in canonical form. metadata: of its file.

    Raises ModelError if no family, or not the requested one, can decode the outputs; ConfigError for wrong options.
    """
    evidence = Evidence(net, metadata, requested.labels or metadata.labels)
    check_task(net.name, metadata, requested)
    if requested.family is None:
        _reject_unsupported(evidence, requested)
        found = _recognized(evidence, requested)
    else:
        found = Family(requested.family, "given by --family", preprocessing.usual(evidence, requested.family))
    options = {**_options(evidence, found.name), **_checked_options(found.name, requested.options)}
    labels = requested.labels or _labels(evidence, found.name, options)
    _check_decodable(net, found.name, options, resolved(labels), given=bool(requested.labels))
    found = replace(found, options=options, labels=() if requested.labels else labels)
    return _with_usual_values(evidence, found, resolved(labels))


def check_task(name: str, metadata: Metadata, requested: Requested) -> None:
    """Raise ModelError if no family decodes the task of the metadata, ConfigError if --family is for another task.

    Fast, since it needs no graph. name: of the model.
    """
    family, expected = requested.family, _of_task(metadata)
    if family is None:
        if task := unsupported.task(metadata):
            raise ModelError(
                f"{name}: {task}: not supported; found it in the metadata of the file; expected another model"
            )
        return
    if family not in registry.names("heads"):
        raise ConfigError(f"--family: found '{family}'; expected one of {', '.join(registry.names('heads'))}")
    if image_input(registry.find("heads", family)) is not None:
        raise ConfigError(f"--family: found '{family}', which has no network; expected it in config.yaml (heads)")
    if metadata.task and family in _FOR_ONE_TASK and family != expected:
        raise ConfigError(
            f"--family: found '{family}', but the model is for the task '{metadata.task}', as its metadata says; "
            f"expected {expected or 'a family that decodes it'}"
        )


def _of_task(metadata: Metadata) -> str:
    """The family of the task in the metadata; "" if there is none."""
    return "detr" if metadata.head == "RTDETRDecoder" else _TASKS.get(metadata.task, "")


def resolved(labels: str | tuple[str, ...]) -> tuple[str, ...]:
    """The labels, or those of the label set with this name."""
    return label_set(labels) if isinstance(labels, str) else labels


def head_spec(net: Net, name: str, family: str, labels: tuple[str, ...]) -> HeadSpec:
    """The specification from which the family's decoder is built."""
    height, width = net.inputs[0].shape[2:]
    return HeadSpec(name, family, labels, (width or 0, height or 0), outputs=output_specs(net))


def build(net: Net, family: str, options: Mapping[str, object], labels: tuple[str, ...]) -> Head:
    """The decoder of a graph's outputs. Raises ModelError if the family cannot decode them."""
    head: Head = registry.build("heads", family, head_spec(net, net.name, family, labels), **options)
    return head


def _check_decodable(net: Net, family: str, options: Mapping[str, Any], labels: tuple[str, ...], given: bool) -> None:
    """Raises ModelError if the family cannot decode the outputs; ConfigError if only because of the `given` labels."""
    try:
        build(net, family, options, labels)
    except ModelError as exc:
        if given and _fits(net, family, options, ()):
            raise ConfigError(f"--labels: {str(exc).partition(': ')[2]}") from exc
        raise


def _fits(net: Net, family: str, options: Mapping[str, object], labels: tuple[str, ...]) -> bool:
    try:
        build(net, family, options, labels)
    except ModelError:
        return False
    return True


def _reject_unsupported(evidence: Evidence, requested: Requested) -> None:
    given = {f"{option} {value}" for option, value in requested.options.items()}
    if any(pattern.matches(evidence) for pattern in structure.SURE):
        return
    kind = unsupported.find(evidence, given | ({"labels"} if requested.labels else set()))
    if kind is not None:
        raise ModelError(f"{evidence.net.name}: {unsupported.described(kind, evidence)}")


def _recognized(evidence: Evidence, requested: Requested) -> Family:
    net, task = evidence.net, evidence.metadata.task
    if of_task := _of_task(evidence.metadata):
        return Family(of_task, f"its metadata: task {task}", preprocessing.usual(evidence, of_task))
    for pattern in (*structure.SURE, *structure.LIKELY):
        if not pattern.matches(evidence):
            continue
        name = pattern.family
        given = {key: value for key, value in requested.options.items() if key in _option_choices(name)}
        options = {**_options(evidence, name), **given}
        labels = evidence.labels if name == "ctc" else requested.labels  # which decodes nothing without
        if _fits(net, name, options, labels) or (requested.labels and _fits(net, name, options, ())):
            return Family(name, pattern.why, preprocessing.usual(evidence, name))
        if name == "yolo" and (versions := _versions(evidence, requested.labels)):
            expected = " or ".join([*(f"--version {version}" for version in versions), "--labels FILE"])
            raise ModelError(
                f"{net.name}: several YOLO formats have the outputs {_text(evidence)}; expected {expected}"
            )
    raise ModelError(
        f"{net.name}: no known family has the outputs {_text(evidence)}; "
        f"expected one of {', '.join(registry.names('heads'))}, or --family"
    )


def _text(evidence: Evidence) -> str:
    return unsupported.outputs_text(evidence)


def _option_choices(family: str) -> dict[str, object]:
    return {option.name: option.annotation for option in registry.options("heads", family)}


def _checked_options(family: str, given: Mapping[str, str]) -> dict[str, str]:
    """The user's options of the head. Raises ConfigError for one that the family does not have."""
    choices = _option_choices(family)
    for name, value in given.items():
        if name not in choices:
            raise ConfigError(f"--{name}: found '{value}'; expected none: the family '{family}' has no such option")
        if value not in get_args(choices[name]):
            raise ConfigError(f"--{name}: found '{value}'; expected {expectation(choices[name])}")
    return dict(given)


def _versions(evidence: Evidence, labels: tuple[str, ...]) -> list[str]:
    """The formats of YOLO that match the outputs, each named by the version that has only this format."""
    known = [name for name in READINGS["auto"] if READINGS[name] == (name,)]
    return [name for name in known if _fits(evidence.net, "yolo", {"version": name}, labels)]


def _options(evidence: Evidence, family: str) -> dict[str, Any]:
    """The options of a head that follow from the graph and its metadata."""
    if family == "pose" and evidence.metadata.keypoints:
        return {"keypoints": evidence.metadata.keypoints}
    if family == "yolo" and evidence.slices_pixels and _fits(evidence.net, family, {"version": "x"}, ()):
        return {"version": "x"}
    if family == "classify" and evidence.ends_with("Sigmoid", "HardSigmoid"):
        return {"activation": "none"}
    if family == "ssd" and len(evidence.outputs) == 2 and not evidence.vectors and priors.boxes(evidence) == "deltas":
        return {"boxes": "deltas"}
    return {"activation": "sigmoid"} if family == "classify" and evidence.vectors == [1] else {}


def _labels(evidence: Evidence, family: str, options: Mapping[str, Any]) -> str | tuple[str, ...]:
    """The labels of the metadata, or those that follow from the outputs, if they fit: 80 classes are those of COCO."""

    def fits(labels: tuple[str, ...]) -> bool:
        return _fits(evidence.net, family, options, labels)

    if evidence.metadata.labels and family in _WITH_FURTHER_VALUES:
        build(evidence.net, family, options, evidence.metadata.labels)  # raises: values would be taken for classes
    if evidence.metadata.labels and fits(evidence.metadata.labels):
        return evidence.metadata.labels
    rows = {table[0] for table in evidence.tables}
    if family in _FACES or (family == "ultraface" and rows == {len(ultraface.priors(evidence.size))}):
        return ("face",) if fits(("face",)) else ()
    if family in _ONE_LABEL:
        return (_ONE_LABEL[family],) if fits((_ONE_LABEL[family],)) else ()
    if family in ("classify", "segment", "embed", "ctc"):
        return ()
    coco = label_set(_COCO)
    return _COCO if fits(coco) and not fits(coco[:-1]) else ()


def _with_usual_values(evidence: Evidence, family: Family, labels: tuple[str, ...]) -> Family:
    """The family, after its decoder has been run on synthetic images. Raises ModelError for unusual values."""

    def problem(options: Mapping[str, Any]) -> str:
        least = {"score": 0.0} if "score" in _option_choices(family.name) else {}
        head = build(evidence.net, family.name, {**options, **least}, labels)
        return values.problem(evidence, family.name, options, head, family.preprocessing)

    found = problem(family.options)
    may_be_raw = family.name == "yolo" and (evidence.slices_pixels or family.options.get("version") == "x")
    if found and may_be_raw and "activation" not in family.options:
        options = {**family.options, "activation": "apply"}
        if not problem(options):
            return replace(family, options=options, why=f"{family.why}, without a sigmoid")
    if found:
        other = f", such as {', '.join(_WITH_FURTHER_VALUES)}" if family.name == "yolo" else ""
        raise ModelError(
            f"{evidence.net.name}: family '{family.name}' ({family.why}): found {found}; "
            f"outputs {_text(evidence)}; expected another model or --family{other}"
        )
    return family
