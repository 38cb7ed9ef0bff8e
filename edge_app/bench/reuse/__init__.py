"""bench reuse: speed and agreement of reuse across frames, beside what else the same time could buy.

command.py     the plan, and a report a clip
clips.py       clips as streams, and exact noise
scene.py       the still background of a clip, and an object cut out of it
stress.py      the idle and the sparse clip, and what breaks reuse
run_clip.py       every frame looked at in several ways, in turns, and the reference
objects.py     what heads see, as boxes that can be compare_readings
paths.py       the reference's objects followed: which move, which are new
agreement.py   F1 with hysteresis, moving objects alone, dwell, by age
controls.py    fewer frames, a tracker, fewer pixels, only crops that move (crops.py, motion.py, budget.py, resize_model.py)
readings.py    numbers that are lost or late
truth.py       a truth file beside the clip
report.py      table and JSON; plot.py the picture
"""
