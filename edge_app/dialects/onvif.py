"""onvif: events and scene descriptions of ONVIF Profile M, as JSON over MQTT.

Events: `onvif-ej/<topic>/&<sources>`, by the Core Specification, "Event Broker". Properties are retained; an empty
payload deletes one. Scene descriptions: `onvif-mj/VideoAnalytics/<camera>/<head>`, by the Analytics Service
Specification, "ONVIF Metadata in JSON over MQTT": coordinates -1..1, y upwards. Not here: ONVIF's SOAP services.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from edge_app.dialects import DialectContext, Publication, as_level
from edge_app.dialects._fields import encoded
from edge_app.frame import JsonValue
from edge_app.messages import Message

_ENGINE = "edge-app"  # the token of the analytics configuration, and the alias of the namespace of our own topics
_MAX_OPEN = 300  # events of a rule at the same time
_IMAGING = {  # by state of a `scene` rule
    "dark": "VideoSource/ImageTooDark/ImagingService",
    "blurred": "VideoSource/ImageTooBlurry/ImagingService",
    "covered": "VideoSource/GlobalSceneChange/ImagingService",
}
_SIGNAL_LOSS = "VideoSource/SignalLoss"
_CLASSES = {  # ONVIF's object types, by label
    "Human": ("person", "human", "pedestrian"),
    "HumanFace": ("face", "human face"),
    "Bicycle": ("bicycle", "bike"),
    "Vehicle": ("vehicle", "car", "truck", "bus", "van", "motorcycle", "motorbike", "train", "boat", "airplane"),
    "LicensePlate": ("license plate", "licence plate", "license_plate", "plate", "number plate"),
    "Animal": ("animal", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "Barcode": ("barcode", "qr code"),
    "Fire": ("fire",),
    "Smoke": ("smoke",),
}
_CLASS_OF = {label: name for name, labels in _CLASSES.items() for label in labels}


class Dialect:
    prefix: ClassVar[str] = "edge-app"
    per_device: ClassVar[bool] = True
    commands: Sequence[str] = ()

    def __init__(self, context: DialectContext) -> None:  # noqa: ARG002  the contract
        self._open: dict[str, OrderedDict[str, Mapping[str, Any]]] = {}  # by rule, then by event id

    def convert(self, message: Message) -> list[Publication]:
        body = json.loads(message.payload)
        if message.kind == "result":
            return [_scene(body, name, head) for name, head in body["heads"].items() if _has_objects(head)]
        return list(self._event(body)) if message.kind == "event" else []

    def command(self, topic: str, payload: bytes) -> None:  # noqa: ARG002  it has no topics of commands
        return None

    def state(self) -> list[Publication]:
        """None: properties are retained."""
        return []

    def _event(self, body: Mapping[str, Any]) -> Iterator[Publication]:
        open_ = self._open.setdefault(body["rule"], OrderedDict())
        key = f"{body['boot_id']} {body['event_id']}"
        if body["type"] == "end":
            open_.pop(key, None)
        else:
            open_[key] = {**body, "start": open_.get(key, body)["start"]}
            if len(open_) > _MAX_OPEN:
                open_.popitem(last=False)
        value, rule_type = body["value"], body["rule_type"]
        if rule_type == "line":
            yield from self._crossed(body)
        elif rule_type == "zone":
            if body["type"] != "update":
                data: dict[str, JsonValue] = {"ObjectId": _object_ids(open_.values()), "IsInside": bool(open_)}
                yield _rule_event("FieldDetector/ObjectsInside", body, data)
        elif rule_type == "stationary":
            yield from self._loitering(body, list(open_.values()))
        elif rule_type == "count":
            yield _rule_event("CountAggregation/OccupancyCounter", body, {"Count": value["count"]})
        elif rule_type == "scene" and value.get("state") in _IMAGING:
            yield _camera_event(_IMAGING[value["state"]], body)
        elif rule_type == "runtime" and value.get("fault") == "camera":
            yield _camera_event(_SIGNAL_LOSS, body)
        else:
            yield _own_event(body)

    def _crossed(self, body: Mapping[str, Any]) -> Iterator[Publication]:
        """The crossing, and the line's counters. ONVIF knows one counter for a line: the sum of both directions."""
        if body["type"] != "new":
            return
        value = body["value"]
        if "track_id" in value:
            data: dict[str, JsonValue] = {"ObjectId": str(value["track_id"])}
            yield _rule_event("LineDetector/Crossed", body, data, retain=False)
        if "in" in value and "out" in value:
            yield _rule_event("CountAggregation/Counter", body, {"Count": value["in"] + value["out"]})
            yield _rule_event("CountAggregation/OccupancyCounter", body, {"Count": value["in"] - value["out"]})

    def _loitering(self, body: Mapping[str, Any], open_: Sequence[Mapping[str, Any]]) -> Iterator[Publication]:
        """The objects that stay. Without any, the property does not exist."""
        topic = "LoiteringDetector/ObjectIsLoitering"
        if body["type"] == "update":
            return
        if open_:
            since = min(str(each["start"]) for each in open_)
            yield _rule_event(topic, body, {"ObjectId": _object_ids(open_), "Since": since})
        else:
            yield Publication(_rule_event(topic, body, {}).topic, b"", retain=True)


def _rule_event(
    topic: str, body: Mapping[str, Any], data: Mapping[str, JsonValue], *, retain: bool = True
) -> Publication:
    """An event of ONVIF's rule engine. retain: it is a property."""
    source = {"VideoSource": body["source"], "AnalyticsConfiguration": _ENGINE, "Rule": body["rule"]}
    return _event(f"RuleEngine/{topic}", body["utc"], source, data, retain=retain)


def _camera_event(topic: str, body: Mapping[str, Any]) -> Publication:
    """A fault of the camera. State: whether it lasts."""
    return _event(topic, body["utc"], {"Source": body["source"]}, {"State": body["type"] != "end"}, retain=True)


def _own_event(body: Mapping[str, Any]) -> Publication:
    """An event that ONVIF has no topic for, in our own namespace: the rule's type, and what is not a list or block."""
    value = {name: each for name, each in body["value"].items() if isinstance(each, (str, int, float, bool))}
    data = {"State": body["type"] != "end", **value}
    return _rule_event(f"{_ENGINE}:{as_level(body['rule_type'])}", body, data)


def _event(
    topic: str, utc: str, source: Mapping[str, str], data: Mapping[str, JsonValue], *, retain: bool
) -> Publication:
    tokens = "/".join(as_level(each) for each in source.values())
    payload = encoded({"UtcTime": utc, "Source": dict(source), "Data": dict(data)})
    return Publication(f"onvif-ej/{topic}/&{tokens}", payload, retain)


def _object_ids(events: Sequence[Mapping[str, Any]] | Any) -> str:
    """The tracks of open events as a tt:StringList."""
    return " ".join(str(each["value"]["track_id"]) for each in events if "track_id" in each["value"])


def _has_objects(head: Mapping[str, Any]) -> bool:
    return "detections" in head or "segments" in head


def _scene(body: Mapping[str, Any], name: str, head: Mapping[str, Any]) -> Publication:
    """A head's detections as a scene description; also if there are none."""
    frame: dict[str, JsonValue] = {"@UtcTime": body["utc"], "@Source": name}
    objects: list[JsonValue] = [_object(each) for each in head.get("detections", head.get("segments"))]
    if objects:
        frame["Object"] = objects
    return Publication(
        f"onvif-mj/VideoAnalytics/{as_level(body['source'])}/{as_level(name)}", encoded({"Frame": [frame]})
    )


def _object(found: Mapping[str, Any]) -> dict[str, JsonValue]:
    """A detection or a segment. ObjectId: its track; without one, there is none."""
    polygon = found.get("polygon", [])
    xs, ys = [p[0] for p in polygon], [p[1] for p in polygon]
    x1, y1, x2, y2 = found["box"] if "box" in found else (min(xs), min(ys), max(xs), max(ys))
    shape: dict[str, JsonValue] = {
        "BoundingBox": {"@left": _x(x1), "@top": _y(y1), "@right": _x(x2), "@bottom": _y(y2)},
        "CenterOfGravity": {"@x": _x((x1 + x2) / 2), "@y": _y((y1 + y2) / 2)},
    }
    if polygon:
        shape["Polygon"] = [{"Point": [{"@x": _x(x), "@y": _y(y)} for x, y in polygon]}]
    label, score = found["label"], found["score"]
    types = [name for name in (_CLASS_OF.get(label.lower()), label) if name]
    classes: list[JsonValue] = [{"@Likelihood": score, "#text": name} for name in dict.fromkeys(types)]
    body: dict[str, JsonValue] = {"Appearance": {"Shape": shape, "Class": {"Type": classes}}}
    return {"@ObjectId": found["track_id"], **body} if "track_id" in found else body


def _x(x: float) -> float:
    return round(2 * x - 1, 4)


def _y(y: float) -> float:
    return round(1 - 2 * y, 4)
