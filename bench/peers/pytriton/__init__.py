"""PyTriton: Triton, whose HTTP front is C++, with a model in Python."""
