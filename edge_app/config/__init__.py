"""config.yaml -> Config.

loading.py   reading the file, every check, every mistake with its line
blocks.py    device, source, model, heads, publish, outbox, sinks
rules.py     track, rules
reuse.py     reuse
services.py  degrade, snapshots, web
"""

from typing import Any

from edge_app.config.blocks import (
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
from edge_app.config.loading import BLOCKS, Config, from_url, load, load_device

__all__ = [
    "BLOCKS",
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
    """Old names of block classes, for code written before 0.1."""
    if name in _RENAMED:
        return globals()[_RENAMED[name]]
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
