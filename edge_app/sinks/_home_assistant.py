"""Home Assistant's MQTT device discovery: one retained message that describes published topics as sensors.

Format: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import json

from edge_app import __version__
from edge_app.frame import JsonValue
from edge_app.sinks import SinkContext

_ON_UNTIL_END = "{{ 'OFF' if value_json.type == 'end' else 'ON' }}"
_OCCUPIED = (
    "{{ 'OFF' if value_json.type == 'end' and"
    " (value_json.value.reason != 'left' or not value_json.value.occupancy) else 'ON' }}"
)
_VALUE = "{{ value_json.value.get('%s') }}"
_Sensor = dict[str, JsonValue]
_SENSORS: dict[str, dict[str, _Sensor]] = {  # by rule type, then by the suffix of the sensor's name
    "reading": {"": {"platform": "sensor", "value_template": _VALUE % "text"}},
    "zone": {"": {"platform": "binary_sensor", "device_class": "occupancy", "value_template": _OCCUPIED}},
    "stationary": {"": {"platform": "binary_sensor", "device_class": "occupancy", "value_template": _ON_UNTIL_END}},
    "scene": {"": {"platform": "binary_sensor", "device_class": "problem", "value_template": _ON_UNTIL_END}},
    "count": {"": {"platform": "sensor", "state_class": "measurement", "value_template": _VALUE % "count"}},
    "line": {
        " in": {"platform": "sensor", "state_class": "total_increasing", "value_template": _VALUE % "in"},
        " out": {"platform": "sensor", "state_class": "total_increasing", "value_template": _VALUE % "out"},
    },
}
_OTHER: dict[str, _Sensor] = {"": {"platform": "sensor", "value_template": "{{ value_json.type }}"}}
_HEAD = (
    "{{% set head = value_json.heads.get('{0}', {{}}) %}}"
    "{{{{ head.detections | count if head.detections is defined"
    " else head.classification[0].label if head.classification else this.state }}}}"
)


def discovery(context: SinkContext, base: str, prefix: str) -> tuple[str, bytes]:
    """The discovery message: topic and payload. base: of the camera's topics. prefix: Home Assistant's own."""
    device = context.device_id
    components: dict[str, _Sensor] = {}
    for rule, type_ in context.rules.items():
        topic = f"{base}/event/{rule}"
        for suffix, sensor in _SENSORS.get(type_, _OTHER).items():
            components[f"rule_{rule}{suffix.replace(' ', '_')}"] = {
                **sensor,
                "name": f"{rule}{suffix}",
                "state_topic": topic,
                "json_attributes_topic": topic,
                "json_attributes_template": "{{ value_json.value | tojson }}",
            }
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
