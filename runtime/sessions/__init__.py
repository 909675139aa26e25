"""Conversations: how they are kept, and what of them a model is shown."""
