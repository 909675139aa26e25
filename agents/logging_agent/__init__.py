"""The logging agent: reads what nodes record, finds what the system wastes, says what a remedy would save.

spans -> streaming sketches -> trace assembler -> per-trace detectors -> cohort -> what-if replay -> finding.
Everything but ``agent.py`` is pure: times come from the spans and from ``now_ns``, randomness from a passed
generator. Rules only, no model decides anything.
"""
