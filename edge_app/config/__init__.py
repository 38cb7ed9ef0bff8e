"""config.yaml -> Config.

loading.py   reading the file; the block device
blocks.py    the options of device, source, model, heads, publish, outbox, sinks
cameras.py   several cameras: the entries, and the blocks that they share
plugins.py   reading the blocks of plug-ins: source, sinks
models.py    reading model, heads
rules.py     track, rules
reuse.py     reuse
clips.py     clips
services.py  degrade, power, snapshots, web
renamed.py   old names of keys
form.py      what the page can edit, as JSON schemas
overrides.py overrides.yaml over config.yaml; patching.py: patches as values; splicing.py: patches in a file's text
reference.py every option with its type, default and meaning; json_schema.py: the same as a JSON Schema
"""

from typing import Any

from edge_app.config.blocks import (
    BoxConfig,
    DeviceConfig,
    HeadCommon,
    HeadConfig,
    ModelConfig,
    OutboxConfig,
    PluginConfig,
    PublishConfig,
    SourceCommon,
    SourceConfig,
)
from edge_app.config.loading import BLOCKS, Config, load, load_device
from edge_app.config.plugins import from_url

__all__ = [
    "BLOCKS",
    "BoxConfig",
    "Config",
    "DeviceConfig",
    "HeadCommon",
    "HeadConfig",
    "ModelConfig",
    "OutboxConfig",
    "PluginConfig",
    "PublishConfig",
    "SourceCommon",
    "SourceConfig",
    "from_url",
    "load",
    "load_device",
]

_RENAMED = {name: f"{name}Config" for name in ("Device", "Head", "Model", "Outbox", "Plugin", "Publish", "Source")}


def __getattr__(name: str) -> Any:
    """Old names of block classes, for code written for earlier versions."""
    if name in _RENAMED:
        return globals()[_RENAMED[name]]
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
