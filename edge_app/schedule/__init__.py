"""Weekly schedules: when a rule, a head or the source is on, in the local time of the device.

weekly.py    the windows of a schedule, and whether one of them contains a moment
switch.py    whether a schedule is on now, whatever steps the clock takes
zone.py      the device's time zone
"""

from edge_app.schedule.switch import Switch
from edge_app.schedule.weekly import Weekly, Window
from edge_app.schedule.zone import LocalZone, system_zone

__all__ = ["LocalZone", "Switch", "Weekly", "Window", "system_zone"]
