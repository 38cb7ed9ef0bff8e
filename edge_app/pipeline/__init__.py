"""The pipeline: the loop that takes every frame through all stages.

opening.py      build(config) -> Pipeline; build_cameras(config) -> Cameras
loop.py         the pipeline: start, step, reload, close
cameras.py      several pipelines in one process; sharing.py: what they share
reporter.py     publishes what belongs to no frame
build.py        builds the stages of a configuration
health.py       statistics, health and status fields
rule_stage.py   evaluates every rule on every frame
schedules.py    which rules and heads are off by schedule, and whether the camera is closed
faults.py       faults of the runtime as events
fault_texts.py  their codes, severities and texts
disk_space.py   whether the disk is full
degradation.py  the degradation ladder: when to do less
idle.py         fewer frames and lower clocks while nothing happens
sensors.py      temperature and memory of the board
timing.py       processing times of the stages
"""

from edge_app.pipeline.health import Health, Stats
from edge_app.pipeline.loop import Pipeline
from edge_app.pipeline.opening import build, build_cameras

__all__ = ["Health", "Pipeline", "Stats", "build", "build_cameras"]
