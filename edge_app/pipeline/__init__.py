"""The pipeline: the one loop through which every frame goes.

loop.py         build(config) -> Pipeline
build.py        the stages of a configuration
rule_stage.py   every configured rule sees every frame
faults.py       what is wrong now, as events
degradation.py  the ladder: when to do less
sensors.py      heat and memory of the board
timing.py       how long each stage takes
"""

from edge_app.pipeline.loop import Health, Pipeline, Stats, build, status

__all__ = ["Health", "Pipeline", "Stats", "build", "status"]
