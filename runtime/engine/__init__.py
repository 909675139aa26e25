"""How it thinks: checkpoints of the Llama family on our own kernels, many requests in one step."""
