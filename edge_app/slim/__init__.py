"""Train networks, make them smaller, and prove the result. Host only.

layers.py     the layers of a graph, as the NPUs run them
channels.py   the channels of a graph that can only change together
widths.py     widths that save more cycles than they lose channels
cost.py       the work of `edge-app slim cost`
cost_plot.py  its plot

recipe.py         what to train: backbone, heads, input, schedule
data/             labeled pictures: YOLO, COCO, folders of classes, masks
backbones/        one file each
tasks/            what a head can learn: detect, classify, segment, embed
network.py        backbone and heads as one torch module
steps/            what makes a trained network smaller
training.py       the steps: seeded, resumable
checkpoint.py     the state of a run
export.py         the model folder that `edge-app compile` takes
train_command.py  the work of `edge-app slim train`
"""
