"""The cases of engine_gpu.py."""
