"""The model compiler, host only: from ONNX files to a model folder that is checked against them. See README.md.

The passes, in order. build.py runs them:

input_models.py         read the models, with their family and preprocessing; keep the published files for comparison
onnx_file.py            read an ONNX file of any exporter
external_data.py        weights that it keeps in other files
opset.py                bring it to an opset from 13 to 19
net.py                  the editable graph, converted from and to ONNX
float_types.py          float16 to float32
canonical.py            fold constants and BatchNorm, remove fixed sizes
transposes.py           cancel the Transposes of graphs with the channels last
output_layout.py        a batch axis and channels first for every output
projections.py          give query, key and value of an attention block a convolution each
data_movement.py        replace chains of Reshape and Transpose by a channel Gather
metadata.py             task, labels and size from the metadata of the file
evidence.py             outputs, last layers and values, from which the family is recognized
structure.py            the families that outputs and last layers suggest
faces.py                the same for face detectors with landmarks
priors.py               the same for SSD, by the number of its priors
unsupported.py          kinds of models that no family decodes, by name; vectors.py has those with one vector
values.py               whether the outputs have the values that the family decodes
preprocessing.py        the family's usual preprocessing
families.py             recognize the model family from all of that
suppression.py          cut non-maximum suppression off, whose thresholds the head then uses
tails/                  cut post-processing off that the family's decoder does
frontend.py             let the graph take the camera's uint8 BGR pixels
share.py                find the backbone that several models have in common
split.py                split one model into backbone and head; cut the backbone into segments
head_segments.py        cut a head into segments: neck and towers
cell_windows.py         which input cells one operation reads, and whether it can run on a crop
receptive_field.py      stride and receptive field of every feature map
output_cells.py         which input cells each output cell of a head depends on
assemble.py             backbone and heads from the passes above, and how the device runs them
published_runs.py       run the published files in several ways, which shows how much rounding matters
proof.py                compare both: box_proof.py boxes, mask_proof.py masks, result_proof.py other results
score_proof.py          compare the values before a last Softmax or Sigmoid, which activations.py removes
reference/              boxes of the published files, by their published rules
calibration_images.py   read images to calibrate with and to compare on
ranges.py               measure the range of every tensor
given_ranges.py         ranges from a file, which training has learned
quantize.py             INT8 graphs; choose the calibration method
npu.py                  convert for an NPU and simulate
rknn.py                 run the RKNN converter; rknn_worker.py runs inside its environment
int16.py                rewrite a graph for int16
npu_shapes.py           convert segments and heads for parts of an image; check that a part equals the whole
ncnn_target.py          convert for ncnn and prove every graph; ncnn_worker.py runs them
pnnx.py                 run pnnx and ncnn in other processes; pnnx_graph.py brings a graph into a form that it reads
comparison.py           compare decoded outputs with those of float32
describe.py             the manifest's contents
folder_writer.py        write graphs, golden vectors and manifest; folder.py replaces the folder at the end
second_stage.py         add a compiled model to a folder, as a head that takes crops
report.py               the report, as a table and as JSON

compilation.py has what is to be compiled, session.py runs graphs on this machine, command.py reads the arguments.
"""
