"""What a unit is, and that no more are sold than there are."""

from pathlib import Path

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.calibration import (
    UNITS,
    Calibration,
    engine_config,
    read_calibration,
    write_calibration,
)
from antiphon.runtime.models.machine import machine_name
from antiphon.runtime.models.setting import LocalSetting

FOUND = Calibration(
    digest="d",
    machine=machine_name(),
    threads=2,
    dtype="auto",
    itl_target_s=0.1,
    prompt_tokens_per_s=1000.0,
    output_tokens_per_s=250.0,
    streams=8,
    output_weight=4.0,
    capacity_tokens_per_minute=48_000.0,
    peak_flops_per_s=1e12,
    peak_bytes_per_s=1e10,
    measured_unix_ms=1,
)


def setting(**units: float) -> LocalSetting:
    """A model on two threads."""
    return LocalSetting(path="m", threads=2, units=units)


def test_what_was_written_is_read_for_the_same_conditions_only(tmp_path: Path) -> None:
    """Another checkpoint, thread count or target was not measured."""
    assert read_calibration(tmp_path, "d", setting()) is None
    write_calibration(tmp_path, setting(), FOUND)
    assert read_calibration(tmp_path, "d", setting(acme=1)) == FOUND
    for other in ({"threads": 1}, {"itl_target_s": 0.2}, {"dtype": "float32"}, {"batch_invariant": True}):
        assert read_calibration(tmp_path, "d", setting().model_copy(update=other)) is None
    assert read_calibration(tmp_path, "e", setting()) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """And is not taken for none."""
    file = write_calibration(tmp_path, setting(), FOUND)
    file.write_text("{")
    with pytest.raises(ConfigurationError, match="remove it and calibrate again"):
        read_calibration(tmp_path, "d", setting())


def test_units_become_policies() -> None:
    """With what a unit is and how replies count; a model that sells none needs no measurement."""
    config = engine_config("m", setting(acme=3, other=0.5), FOUND)
    assert {name: policy.units for name, policy in config.tenants.items()} == {"acme": 3, "other": 0.5}
    assert config.unit_tokens_per_minute == 48_000 / UNITS
    assert config.output_weight == 4.0
    assert config.threads == 2
    assert engine_config("m", setting(), None).unit_tokens_per_minute is None


def test_the_same_answer_again_can_be_asked_for() -> None:
    """``batch_invariant`` of a model's table reaches its engine."""
    assert not engine_config("m", setting(), None).batch_invariant
    assert engine_config("m", setting().model_copy(update={"batch_invariant": True}), None).batch_invariant


def test_units_that_are_not_there_are_not_sold() -> None:
    """Not measured, or more than the machine has: with the numbers."""
    with pytest.raises(ConfigurationError, match=r"sells 2 units.*2 threads.*antiphon models calibrate m"):
        engine_config("m", setting(acme=2), None)
    with pytest.raises(ConfigurationError, match=r"sells 11 units of 4,800 .*acme: 8, other: 3.*10: 48,000 a minute"):
        engine_config("m", setting(acme=8, other=3), FOUND)
