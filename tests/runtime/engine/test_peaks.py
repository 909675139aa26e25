"""The ceilings of this machine."""

import pytest

from antiphon.runtime.engine import peaks


def test_peaks_are_those_of_some_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a microcontroller reaches, and less than any machine there is."""
    monkeypatch.setattr(peaks, "_REPEATS", 1)
    found = peaks.measure_peaks("float32", 1)
    assert 1e8 < found.flops_per_s < 1e17
    assert 1e8 < found.bytes_per_s < 1e14
