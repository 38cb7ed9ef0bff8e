"""Home Assistant's core and its MQTT integration, without its server; run by a Python that has Home Assistant.

    python home_assistant_core.py FOLDER PORT LOG

FOLDER keeps its registries from run to run. It prints `ready`, and for each line `states` on standard input one JSON
object: whether it is connected to the broker, and its entities by unique id with their state. `stop` ends it.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path
from types import MappingProxyType
from unittest.mock import Mock

from homeassistant import bootstrap, core, loader
from homeassistant.config_entries import ConfigEntries, ConfigEntry
from homeassistant.helpers import device_registry, entity_registry


async def run(folder, port):
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    for server in ("http", "file_upload"):  # not needed for MQTT
        hass.config.components.add(server)
    hass.http = Mock()  # the platform `image` registers a page
    entries = hass.config_entries.async_entries("mqtt")
    if entries:
        await hass.config_entries.async_setup(entries[0].entry_id)
    else:
        await hass.config_entries.async_add(new_entry(port))
    await hass.async_start()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip() == "states":
        print(json.dumps(states(hass)), flush=True)
    await hass.async_stop(force=True)


def new_entry(port):
    return ConfigEntry(
        domain="mqtt",
        data={"broker": "127.0.0.1", "port": port, "protocol": "3.1.1"},
        options={},
        title="mqtt",
        unique_id=None,
        source="user",
        version=1,
        minor_version=2,
        discovery_keys=MappingProxyType({}),
        subentries_data=None,
    )


def states(hass):
    found = {}
    for entity in entity_registry.async_get(hass).entities.values():
        state = hass.states.get(entity.entity_id)
        found[entity.unique_id] = {
            "state": None if state is None else state.state,
            "category": entity.entity_category,
            "name": None if state is None else state.name,
        }
    devices = [device.configuration_url for device in device_registry.async_get(hass).devices.values()]
    data = hass.data.get("mqtt")
    return {"connected": data is not None and data.client.connected, "entities": found, "devices": devices}


if __name__ == "__main__":
    FOLDER, PORT, LOG = sys.argv[1:]
    (Path(FOLDER) / "configuration.yaml").touch()
    logging.basicConfig(filename=LOG, level=logging.WARNING)
    asyncio.run(run(FOLDER, int(PORT)))
