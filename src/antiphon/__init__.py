"""Antiphon: a runtime for systems of agents."""
