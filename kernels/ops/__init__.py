"""Public operations: they validate, allocate and dispatch to the backend that fits the tensor's device."""

from antiphon.kernels.ops.attention_step import AttentionStep, attention_step
from antiphon.kernels.ops.kv_quant import write_quantised_kv
from antiphon.kernels.ops.linear import linear
from antiphon.kernels.ops.lora import lora
from antiphon.kernels.ops.mean_pool import mean_pool
from antiphon.kernels.ops.paged_attention import paged_attention
from antiphon.kernels.ops.pages import copy_pages, gather_pages, scatter_pages
from antiphon.kernels.ops.quantised_linear import quantised_linear
from antiphon.kernels.ops.rms_norm import add_rms_norm, rms_norm, rms_norm_quant
from antiphon.kernels.ops.rotary import rotary
from antiphon.kernels.ops.rotary_cache import rotary_cache
from antiphon.kernels.ops.sample import sample
from antiphon.kernels.ops.silu_mul import silu_mul, silu_mul_quant

__all__ = [
    "AttentionStep",
    "add_rms_norm",
    "attention_step",
    "copy_pages",
    "gather_pages",
    "linear",
    "lora",
    "mean_pool",
    "paged_attention",
    "quantised_linear",
    "rms_norm",
    "rms_norm_quant",
    "rotary",
    "rotary_cache",
    "sample",
    "scatter_pages",
    "silu_mul",
    "silu_mul_quant",
    "write_quantised_kv",
]
