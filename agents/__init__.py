"""Agents that ship with Antiphon. Each imports the runtime's public names and schemas, never another agent."""
