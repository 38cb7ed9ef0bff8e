"""Tasks and recipes for `edge-app slim` on public data.

fashion_mnist.py  Fashion-MNIST, with a VGG-like network; fashion_mnist.yaml is its recipe

people.yaml trains a detector of people on coco128, and people_slim.yaml makes it smaller.
"""
