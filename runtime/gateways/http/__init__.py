"""The HTTP door: agents for whatever speaks HTTP and JSON, and for clients of OpenAI's chat completions."""
