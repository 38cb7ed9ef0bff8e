"""The measurements, as commands of the product: each beside its alternative, in one run, as a ratio."""
