"""`edge-app slim shrink`: steps in any order, each with a checkpoint, a row of evidence, and controls. Needs torch.

recipe.py    slim.yaml
tuning.py    the training of one stage: seeded, resumable
stages.py    runs the stages of a recipe and their controls, and skips those that are done
evidence.py  measures a network: figures in float and int8, cycles, bytes, time
verdict.py   whether a stage beats its controls
page.py      the report as one HTML page
pareto.py    its plot
command.py   the work of the command
"""
