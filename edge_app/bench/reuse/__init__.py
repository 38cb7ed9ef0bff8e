"""bench reuse: speed and agreement of reuse, compared with full inference and with other methods of equal cost.

command.py        the plan, and a report for each clip
clips.py          clips as streams of frames, and reproducible noise
scene.py          the background of a clip, and a moving object cut out of it
stress.py         generated clips: idle, sparse, and cases that are hard for reuse
runs.py           every frame through several methods, alternating, and the reference
objects.py        outputs of all heads as boxes that can be compared
trajectories.py   objects of the reference over time: which move, which are new
agreement.py      F1 with hysteresis, of all and of moving objects, detection delay, F1 by age
controls.py       other methods: fewer frames, a tracker, fewer pixels, and crops around motion
                  (allowance.py, resized_model.py, motion.py, motion_crops.py)
reading_log.py    numbers that are lost or read later
truth.py          the ground-truth file of a clip
report.py         table and JSON; plot.py: the plot
"""
