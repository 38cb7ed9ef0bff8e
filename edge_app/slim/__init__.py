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
training.py       the steps: seeded, resumable
progress.py       how far they are
checkpoint.py     the state of a run
folder.py         replaces a folder as a whole
export.py         the model folder that `edge-app compile` takes
train_command.py  the work of `edge-app slim train`

graph/         a graph of the compiler as a torch module
pruning.py     drops channels
objectives.py  what a model learns when it is made smaller
steps/         what makes it smaller, one file each
shrink/        `edge-app slim shrink`: stages, evidence, controls, report
search/        `edge-app slim search` and `serve`
examples/      tasks on public data
"""
