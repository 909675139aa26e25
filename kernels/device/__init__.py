"""Triton kernels and their launchers. A launcher allocates nothing and trusts its arguments: the op checked them."""
