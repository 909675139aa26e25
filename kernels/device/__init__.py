"""Triton kernels and their launchers. A launcher allocates nothing and trusts its arguments: the op checked them."""

import os

# Triton 3.9 fuses a multiply and an add by default and 3.10 will not: numbers would move with the version.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
