"""The entities that Home Assistant shows: one for each value of rules, heads, camera and device that runs.

Every value comes from a retained state topic, so it is right after a restart of either side. Commands and the options
of each platform: https://www.home-assistant.io/integrations/mqtt. Not here: the discovery message (_home_assistant.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edge_app.dialects import as_level
from edge_app.sinks import SinkContext
from edge_app.sinks._state_topics import topic_of

Entity = dict[str, Any]
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_LABELS = 8  # of a rule or head that get an entity each
_MAX_LABEL = 32  # characters, as in the state (state/values.py)
_ACTIVE = "{{ 'online' if value_json.active else 'offline' }}"
_LABELS = "{{ {'labels': value_json.labels | default({})} | tojson }}"
_COUNT: Entity = {"platform": "sensor", "state_class": "measurement", "icon": "mdi:counter"}
_TOTAL: Entity = {"platform": "sensor", "state_class": "total_increasing", "icon": "mdi:counter"}
_OCCUPANCY: Entity = {"platform": "binary_sensor", "device_class": "occupancy"}
_DIAGNOSTIC: Entity = {"platform": "sensor", "entity_category": "diagnostic"}
_OF_RULE: Mapping[str, Mapping[str, tuple[str, Entity, str]]] = {  # by type, then by suffix of the key: name, …, value
    "reading": {
        "": (
            "",
            {"platform": "sensor", "icon": "mdi:numeric"},
            r"value_json.text | replace('\n', ' / ') if value_json.text else none",
        )
    },
    "zone": {
        "": ("", _OCCUPANCY, "'ON' if value_json.occupancy > 0 else 'OFF'"),
        "_count": (" objects", _COUNT, "value_json.occupancy"),
        "_entered": (
            " entered",
            _TOTAL,
            "((value_json.totals | default({})).entered | default({})).total | default(0)",
        ),
    },
    "stationary": {
        "": ("", _OCCUPANCY, "'ON' if value_json.count > 0 else 'OFF'"),
        "_count": (" objects", _COUNT, "value_json.count"),
    },
    "scene": {
        "": ("", {"platform": "binary_sensor", "device_class": "problem"}, "'ON' if value_json.problem else 'OFF'"),
        "_state": (" state", {**_DIAGNOSTIC, "icon": "mdi:image-check"}, "value_json.state"),
    },
    "count": {
        "": ("", _COUNT, "value_json.count"),
        "_reached": (" reached", {**_OCCUPANCY, "icon": "mdi:account-group"}, "'ON' if value_json.reached else 'OFF'"),
    },
    "line": {
        "_in": (" in", _TOTAL, "((value_json.totals | default({}))['in'] | default({})).total | default(0)"),
        "_out": (" out", _TOTAL, "((value_json.totals | default({}))['out'] | default({})).total | default(0)"),
    },
}
_OTHER = {"": ("", _COUNT, "value_json.open | default(none)")}
_OF_DEVICE = ("temperature", "memory", "queue", "release", "restart")  # one for all cameras
_BY_LABEL = ("zone", "stationary", "count")  # types whose state has one count for each label


def entities(context: SinkContext, base: str, *, commands: bool) -> dict[str, Entity]:
    """All entities by key, which has only [a-zA-Z0-9_-]. base: of the topics. commands: the sink accepts commands.

    Keys and names of a camera after the first begin with the name of the camera.
    """
    found = _of_camera(context, base, commands=commands)
    for camera in context.others:
        for key, entity in _of_camera(camera, base, commands=commands).items():
            if key not in _OF_DEVICE:
                found[f"{safe(camera.source)}_{key}"] = {**entity, "name": f"{camera.source} {entity['name']}"}
    for key, entity in found.items():
        entity["unique_id"] = f"{safe(context.device_id)}_{key}"
    return found


def _of_camera(context: SinkContext, base: str, *, commands: bool) -> dict[str, Entity]:
    """The entities of a camera and of the device, without their unique ids."""
    found: dict[str, Entity] = {}
    for rule, type_ in context.rules.items():
        found |= _rule(context, base, rule, type_)
    for head, family in context.heads.items():
        found |= _head(context, base, head, family)
    found |= _device(context, base)
    if commands:
        found |= dict(_commands(context, base))
    return found


def safe(text: str) -> str:
    """A text of [a-zA-Z0-9_-]. Another text gets another one."""
    replaced = _UNSAFE.sub("_", text[:48])
    return replaced if replaced == text else f"{replaced}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _rule(context: SinkContext, base: str, rule: str, type_: str) -> dict[str, Entity]:
    topic, key = topic_of(base, context.source, f"rules/{rule}"), f"rule_{safe(rule)}"
    found: dict[str, Entity] = {}
    for suffix, (name, entity, value) in _OF_RULE.get(type_, _OTHER).items():
        found[f"{key}{suffix}"] = _watched(base, topic, f"{rule}{name}", entity, value)
    if type_ in _BY_LABEL:
        found[key] |= _attributes(topic)
        found |= _by_label(context, base, f"rules/{rule}", key)
    return found


def _head(context: SinkContext, base: str, head: str, family: str) -> dict[str, Entity]:
    topic, key = topic_of(base, context.source, f"heads/{head}"), f"head_{safe(head)}"
    if family == "embed":
        return {}
    if family == "classify":
        entity: Entity = {"platform": "sensor", "icon": "mdi:tag"}
        return {key: _watched(base, topic, head, entity, "value_json.label | default(none)")}
    count = _watched(base, topic, f"{head} in view", _COUNT, "value_json.count | default(none)")
    return {key: count | _attributes(topic), **_by_label(context, base, f"heads/{head}", key)}


def _by_label(context: SinkContext, base: str, state: str, key: str) -> dict[str, Entity]:
    """One count for each label, if there are few. state: as `rules/door`. key: of the rule or head."""
    topic, name = topic_of(base, context.source, state), state.partition("/")[2]
    labels = context.surface.labels.get(state, ())
    if not 1 < len(labels) <= _MAX_LABELS:
        return {}
    return {
        f"{key}_label_{safe(label)}": _watched(
            base, topic, f"{name} {label}", _COUNT, f"value_json.labels.get({_literal(label[:_MAX_LABEL])}, 0)"
        )
        for label in labels
    }


def _watched(base: str, topic: str, name: str, entity: Mapping[str, Any], value: str) -> Entity:
    """An entity that is available while its rule or head watches a working camera. value: an expression."""
    return {
        **entity,
        "name": name,
        "state_topic": topic,
        "value_template": f"{{{{ {value} }}}}",
        "availability": [{"topic": f"{base}/available"}, {"topic": topic, "value_template": _ACTIVE}],
        "availability_mode": "all",
    }


def _attributes(topic: str) -> Entity:
    """The counts by label as attributes of an entity."""
    return {"json_attributes_topic": topic, "json_attributes_template": _LABELS}


def _device(context: SinkContext, base: str) -> dict[str, Entity]:
    """What is true of camera and device."""
    camera, device = (topic_of(base, context.source, name) for name in ("camera", "device"))

    def measured(name: str, value: str, **more: str) -> Entity:
        value = f"{{{{ value_json.{value} | default(none) }}}}"
        return {**_DIAGNOSTIC, **more, "name": name, "state_topic": device, "value_template": value}

    found: dict[str, Entity] = {
        "camera_lost": {
            "platform": "binary_sensor",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "name": "Camera lost",
            "state_topic": camera,
            "value_template": "{{ 'ON' if value_json.problem else 'OFF' }}",
            "json_attributes_topic": camera,
            "json_attributes_template": "{{ {'state': value_json.state, 'error': value_json.error,"
            " 'faults': value_json.faults, 'level': value_json.level} | tojson }}",
        },
        "temperature": measured(
            "Temperature",
            "temperature_c",
            device_class="temperature",
            state_class="measurement",
            unit_of_measurement="°C",
        ),
        "memory": measured(
            "Memory", "memory_mb", device_class="data_size", state_class="measurement", unit_of_measurement="MB"
        ),
        "frame_rate": measured(
            "Frame rate", "frames_per_s", state_class="measurement", unit_of_measurement="fps", icon="mdi:filmstrip"
        ),
        "queue": measured(
            "Queue", "queue", state_class="measurement", unit_of_measurement="messages", icon="mdi:tray-full"
        ),
        "release": {
            "platform": "update",
            "entity_category": "diagnostic",
            "device_class": "firmware",
            "name": "Release",
            "state_topic": device,
            "value_template": "{{ {'installed_version': value_json.release, 'latest_version': value_json.release}"
            " | tojson }}",
        },
    }
    if context.snapshots is not None:
        found["last_event"] = {
            "platform": "image",
            "name": "Last event",
            "content_type": "image/jpeg",
            "image_topic": f"{base}/image/{as_level(context.source)}",
        }
    return found


def _commands(context: SinkContext, base: str) -> Iterator[tuple[str, Entity]]:
    """What a user can change. The state of each is what is in effect."""
    camera = topic_of(base, context.source, "camera")
    to = f"{base}/set/{as_level(context.source)}"
    config = {"entity_category": "config"}
    for kind, names in (("rule", context.rules), ("head", context.heads)):
        for name in names:
            yield (
                f"switch_{kind}_{safe(name)}",
                {
                    **config,
                    "platform": "switch",
                    "icon": "mdi:eye",
                    "name": f"{name} {kind}",
                    "state_topic": topic_of(base, context.source, f"{kind}s/{name}"),
                    "value_template": "{{ 'ON' if value_json.enabled else 'OFF' }}",
                    "command_topic": f"{to}/{kind}s/{as_level(name)}",
                },
            )
    for head in context.surface.scores:
        yield (
            f"score_{safe(head)}",
            {
                **config,
                "platform": "number",
                "icon": "mdi:tune",
                "name": f"{head} score",
                "state_topic": topic_of(base, context.source, f"heads/{head}"),
                "value_template": "{{ value_json.score | default(none) }}",
                "command_topic": f"{to}/heads/{as_level(head)}/score",
                "min": 0,
                "max": 1,
                "step": 0.01,
            },
        )
    for name, choices in (("reuse", ("ON", "OFF")), ("precision", context.surface.precisions)):
        if choices:
            listed = ", ".join(f"'{choice}'" for choice in choices)
            yield (
                name,
                {
                    **config,
                    "platform": "select",
                    "name": name.capitalize(),
                    "options": [*choices],
                    "state_topic": camera,
                    "value_template": f"{{{{ value_json.{name} if value_json.{name} in [{listed}] else none }}}}",
                    "command_topic": f"{to}/{name}",
                },
            )
    yield (
        "snapshot",
        {"platform": "button", "name": "Snapshot", "icon": "mdi:camera", "command_topic": f"{to}/snapshot"},
    )
    restart = {**config, "platform": "button", "device_class": "restart", "name": "Restart"}
    yield "restart", {**restart, "command_topic": f"{to}/restart"}


def _literal(text: str) -> str:
    """A string of Jinja's expressions."""
    plain = (c if c.isascii() and (c.isalnum() or c in " _-") else f"\\U{ord(c):08x}" for c in text)
    return f"'{''.join(plain)}'"
