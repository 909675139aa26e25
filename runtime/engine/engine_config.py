"""How an engine runs, apart from the model: memory, batch, targets and tenants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from antiphon.runtime.errors import ConfigurationError

PAGE_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class TenantPolicy:
    """What a tenant has bought: ``units`` of provisioned throughput. 0: no guarantee, a share of what is spare.

    ``shared_prompts`` puts its cached prompts where every such tenant finds them; how fast an answer comes then tells
    whether another tenant has sent the same beginning.
    """

    units: float = 0.0
    shared_prompts: bool = False


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Settings of one engine.

    ``cache_tokens``: keys and values the page pool holds (None: 16 whole contexts of at most 2,048 tokens each; on an
    accelerator what fits into 85 % of the memory that the weights leave).
    ``itl_target_s``: the time between two tokens that a step's prompt chunks must not push it over. ``order`` and
    ``prefill`` have a second value for comparison: calls in order of arrival, and whole prompts before any token.
    ``unit_tokens_per_minute``: what one unit of a tenant is, in weighted tokens; ``output_weight``: what a token of a
    reply counts of them (None: as much as it takes longer here and now). Both are measured by calibration, so that
    tenants are charged in what they have bought.
    """

    dtype: str = "auto"
    threads: int = 1
    cache_tokens: int | None = None
    max_rows: int = 64
    max_waiting: int = 1024
    itl_target_s: float = 0.1
    prefix_cache: bool = True
    speculate: bool = True
    batch_invariant: bool = False
    order: Literal["programs", "arrival"] = "programs"
    prefill: Literal["mixed", "first"] = "mixed"
    tenants: Mapping[str, TenantPolicy] = field(default_factory=dict)
    unit_tokens_per_minute: float | None = None
    output_weight: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            ConfigurationError: a number out of range, or units without their size.
        """
        for name, least in (("threads", 1), ("max_rows", 1), ("max_waiting", 1), ("cache_tokens", PAGE_TOKENS)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigurationError(f"engine: found {name} = {value}, expected {least} or more")
        if not self.itl_target_s > 0:
            raise ConfigurationError(f"engine: found itl_target_s = {self.itl_target_s}, expected more than 0 seconds")
        if self.output_weight is not None and not self.output_weight > 0:
            raise ConfigurationError(f"engine: found output_weight = {self.output_weight}, expected more than 0")
        sold = any(policy.units for policy in self.tenants.values())
        if sold and not self.unit_tokens_per_minute:
            raise ConfigurationError(
                "engine: found tenants with units but not what a unit is; run `antiphon models calibrate MODEL`"
            )
