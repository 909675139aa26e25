"""How it is said and done: bus, agents, models, telemetry, store, console and command line."""
