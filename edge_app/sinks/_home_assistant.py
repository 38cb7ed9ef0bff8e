"""Home Assistant's MQTT device discovery: one retained message that describes all entities of this device.

A component that is left out of the message stays in Home Assistant; it goes by a message with only its `platform`.
Format: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
Not here: the entities (_home_assistant_entities.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from edge_app import __version__
from edge_app.frame import JsonValue
from edge_app.sinks import SinkContext
from edge_app.sinks._announced import Announcement
from edge_app.sinks._home_assistant_entities import Entity, entities, safe

_MAX_REMOVED = 200
_REPEAT_S = 5.0
_STEP_S = 3.0  # Home Assistant processes one message of a component at a time; it drops others that wait for long


class Discovery:
    """The discovery of one device. base: of its topics. prefix: Home Assistant's own. announced: what it was before."""

    def __init__(
        self, context: SinkContext, base: str, prefix: str, announced: Announcement, *, commands: bool
    ) -> None:
        self._context, self._base, self._announced = context, base, announced
        self._entities = entities(context, base, commands=commands)
        self.topic = f"{prefix}/device/{safe(context.device_id)}/config"
        self._steps: list[tuple[float, bytes]] = []  # to publish, and not before when
        self._host = ""
        self._last_s = -_REPEAT_S
        self._forget = False  # what was removed, after the last step

    def announce(self, now_s: float, host: str) -> None:
        """Publish everything over a new connection. host: the address of this device, as the broker sees it.

        Entities that no longer exist are removed. An entity that has another platform now is removed first.
        """
        self._host, self._forget = host, False
        old = self._announced.components
        changed = {key for key in old if key in self._entities and old[key]["platform"] != self._platform(key)}
        for key in old:
            if key not in self._entities:
                self._announced.removed[key] = old[key]
        for key in self._entities:
            self._announced.removed.pop(key, None)
        for key in list(self._announced.removed)[:-_MAX_REMOVED]:
            del self._announced.removed[key]
        self._announced.components = {key: dict(entity) for key, entity in self._entities.items()}
        self._announced.discovery = self.topic
        gone = {key: {"platform": each["platform"]} for key, each in self._announced.removed.items()}
        self._steps = [(now_s, self._message(self._entities | gone))]
        if changed:
            before = {key: {"platform": old[key]["platform"]} for key in changed}
            self._steps = [(now_s, self._message(self._entities | gone | before)), (now_s + _STEP_S, self._steps[0][1])]

    def repeat(self, now_s: float) -> None:
        """Home Assistant has started. It may still have entities that were removed while it was away.

        It removes only what it knows, so they are announced once more, and then removed.
        """
        if self._steps:
            return  # it will get them
        removed = self._announced.removed
        now_s = max(now_s, self._last_s + _REPEAT_S)
        gone = {key: {"platform": each["platform"]} for key, each in removed.items()}
        self._steps = [(now_s, self._message(self._entities | removed))]
        if removed:
            self._steps.append((now_s + _STEP_S, self._message(self._entities | gone)))
        self._forget = True

    def next(self, now_s: float) -> bytes | None:
        """The message to publish now, if any."""
        if not self._steps or now_s < self._steps[0][0]:
            return None
        self._last_s = now_s
        payload = self._steps.pop(0)[1]
        if self._forget and not self._steps:
            self._announced.removed = {}
        return payload

    def _platform(self, key: str) -> object:
        return self._entities[key]["platform"]

    def _message(self, components: Mapping[str, Entity]) -> bytes:
        context = self._context
        device: dict[str, JsonValue] = {
            "identifiers": [context.device_id],
            "name": _device_name(context),
            "manufacturer": "edge_app",
            "model": "vision module",
            "sw_version": __version__,
        }
        if context.surface.page is not None:
            host, port, path = context.surface.page
            host = self._host if host in ("0.0.0.0", "::", "") else host
            host = f"[{host}]" if ":" in host else host
            device["configuration_url"] = f"http://{host}:{port}{path}/"
        body = {
            "device": device,
            "origin": {"name": "edge_app", "sw_version": __version__},
            "availability": [{"topic": f"{self._base}/available"}],
            "components": dict(components),
            "qos": 1,
        }
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _device_name(context: SinkContext) -> str:
    """With the name of the camera, if there is one and it was given one."""
    return (
        context.device_id if context.others or context.source == "camera" else f"{context.source} {context.device_id}"
    )
