"""How it thinks: checkpoints of the Llama family, run by torch on our own kernels, one request at a time."""
