"""How a person sees the system: terminal and browser, over the store and the directory."""
