"""What a unit of provisioned throughput is on a machine: measured once, kept in the home folder, read when sold."""

import hashlib
import os
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from antiphon.runtime.engine.engine_config import EngineConfig, TenantPolicy
from antiphon.runtime.engine.metrics import Peaks
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.machine import machine_name
from antiphon.runtime.models.setting import LocalSetting
from antiphon.schemas.message import Value

UNITS: Final = 10  # what a machine has to sell with one model: a unit is a tenth of what was measured


class Calibration(Value):
    """Speeds of one model on one machine, with ``threads`` and ``dtype``, while ``itl_target_s`` is kept.

    A call costs its prompt tokens that were not cached, and ``output_weight`` for each token of its reply: what that
    takes longer than a token of a prompt. The capacity is what a mixture of both reached, in such weighted tokens.
    ``streams``: replies at once. The peaks are the hardware's.
    """

    digest: str
    machine: str
    threads: int
    dtype: str
    itl_target_s: float
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    streams: int
    output_weight: float
    capacity_tokens_per_minute: float
    peak_flops_per_s: float
    peak_bytes_per_s: float
    measured_unix_ms: int

    @property
    def unit_tokens_per_minute(self) -> float:
        """Weighted tokens a minute of one unit."""
        return self.capacity_tokens_per_minute / UNITS

    @property
    def peaks(self) -> Peaks:
        """The ceilings that utilisation is a share of."""
        return Peaks(flops_per_s=self.peak_flops_per_s, bytes_per_s=self.peak_bytes_per_s)


def read_calibration(home: Path, digest: str, setting: LocalSetting) -> Calibration | None:
    """What was measured here for a checkpoint under its setting; None where nothing was.

    Raises:
        ConfigurationError: the file is not what was written.
    """
    file = _file(home, digest, setting)
    try:
        return Calibration.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"{file} cannot be read ({error}); remove it and calibrate again") from None


def write_calibration(home: Path, setting: LocalSetting, found: Calibration) -> Path:
    """Keep it, in place of an earlier one; returns the file."""
    file = _file(home, found.digest, setting)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(partial, file)
    return file


def engine_config(name: str, setting: LocalSetting, calibration: Calibration | None) -> EngineConfig:
    """The setting as the engine takes it.

    Raises:
        ConfigurationError: units were sold and never measured here, or more were sold than the machine has.
    """
    sold = sum(setting.units.values())
    if sold and calibration is None:
        raise ConfigurationError(
            f"model {name!r} sells {sold:g} units, and what a unit is was not measured on this machine with "
            f"{setting.threads} threads, dtype {setting.dtype} and {setting.itl_target_s:g} s between tokens; "
            f"antiphon models calibrate {name}"
        )
    if calibration is not None and sold > UNITS:
        raise ConfigurationError(
            f"model {name!r} sells {sold:g} units of {calibration.unit_tokens_per_minute:,.0f} weighted tokens/minute "
            f"({', '.join(f'{tenant}: {units:g}' for tenant, units in setting.units.items())}), and this machine has "
            f"{UNITS}: {calibration.capacity_tokens_per_minute:,.0f} a minute were measured; sell fewer"
        )
    return EngineConfig(
        dtype=setting.dtype,
        threads=setting.threads,
        cache_tokens=setting.cache_tokens,
        itl_target_s=setting.itl_target_s,
        batch_invariant=setting.batch_invariant,
        tenants={tenant: TenantPolicy(units=units) for tenant, units in setting.units.items()},
        unit_tokens_per_minute=calibration.unit_tokens_per_minute if calibration is not None else None,
        output_weight=calibration.output_weight if calibration is not None else None,
    )


def _file(home: Path, digest: str, setting: LocalSetting) -> Path:
    key = (digest, machine_name(), setting.threads, setting.dtype, setting.itl_target_s, setting.batch_invariant)
    return home / "calibration" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.json"
