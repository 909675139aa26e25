"""The parts of ``benchmarks/chaos.py``: what is killed, the work, the processes, the record and the verdict."""
