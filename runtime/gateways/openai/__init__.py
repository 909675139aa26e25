"""The OpenAI-compatible gateway: models as they are, for whatever speaks OpenAI's API."""
