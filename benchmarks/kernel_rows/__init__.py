"""The rows of ``benchmarks/kernels.py``: an op, its inputs, its peer and its goal each."""
