"""On what it thinks: operations in three files each (device kernel, public op, torch reference)."""
