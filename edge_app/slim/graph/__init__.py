"""A graph of the compiler as a torch module that can be trained, changed and written back. Needs torch.

network.py       the module: one layer for each convolution, a function for everything else
operators.py     those functions
batchnorm.py     puts BatchNorm back behind convolutions that it was folded into
fake_quant.py    rounds tensors and weights as the compiler's int8 graphs do
model_folder.py  from a model folder, and to one
"""
