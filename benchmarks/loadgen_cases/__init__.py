"""What benchmarks/loadgen.py is made of."""
