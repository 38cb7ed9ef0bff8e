"""Home Assistant's MQTT device discovery: one retained message that makes sensors of what is published anyway.

Format: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import json

from edge_app import __version__
from edge_app.frame import JsonValue
from edge_app.sinks import SinkContext

_ON_UNTIL_END = "{{ 'OFF' if value_json.type == 'end' else 'ON' }}"
_VALUE = "{{ value_json.value.get('%s') }}"
_EVENT_SENSORS: dict[str, dict[str, JsonValue]] = {  # by rule type; others give the type of their last event
    "reading": {"platform": "sensor", "value_template": _VALUE % "text"},
    "zone": {"platform": "binary_sensor", "device_class": "occupancy", "value_template": _ON_UNTIL_END},
    "stationary": {"platform": "binary_sensor", "device_class": "occupancy", "value_template": _ON_UNTIL_END},
    "scene": {"platform": "binary_sensor", "device_class": "problem", "value_template": _ON_UNTIL_END},
    "count": {"platform": "sensor", "state_class": "measurement", "value_template": _VALUE % "count"},
    "line": {"platform": "sensor", "value_template": _VALUE % "direction"},
}
_OTHER: dict[str, JsonValue] = {"platform": "sensor", "value_template": "{{ value_json.type }}"}
_HEAD = (
    "{{% set head = value_json.heads.get('{0}', {{}}) %}}"
    "{{{{ head.detections | count if head.detections is defined"
    " else head.classification[0].label if head.classification else this.state }}}}"
)


def discovery(context: SinkContext, base: str, prefix: str) -> tuple[str, bytes]:
    """The topic and the payload that announce this camera. base: of its topics. prefix: Home Assistant's."""
    device = context.device_id
    components: dict[str, dict[str, JsonValue]] = {}
    for rule, type_ in context.rules.items():
        common: dict[str, JsonValue] = {"name": rule, "state_topic": f"{base}/event/{rule}"}
        attributes: dict[str, JsonValue] = {
            "json_attributes_topic": f"{base}/event/{rule}",
            "json_attributes_template": "{{ value_json.value | tojson }}",
        }
        components[f"rule_{rule}"] = {**_EVENT_SENSORS.get(type_, _OTHER), **common, **attributes}
    for head in context.heads:
        components[f"head_{head}"] = {
            "platform": "sensor",
            "name": f"{head} in view",
            "state_topic": f"{base}/result",
            "value_template": _HEAD.format(head),
        }
    for key, component in components.items():
        component["unique_id"] = f"{device}_{key}"
    body: dict[str, JsonValue] = {
        "device": {
            "identifiers": [device],
            "name": device,
            "manufacturer": "edge_app",
            "model": "vision module",
            "sw_version": __version__,
        },
        "origin": {"name": "edge_app", "sw_version": __version__},
        "availability": [{"topic": f"{base}/available"}],
        "components": components,
        "qos": 1,
    }
    return f"{prefix}/device/{device}/config", json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
