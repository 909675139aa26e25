"""Cases of benchmarks/engine.py."""
