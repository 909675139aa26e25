"""The builder of synthetic traces."""

import pytest

from antiphon.runtime.whatif.testing import Traced


@pytest.fixture
def traced() -> type[Traced]:
    """The builder of traces."""
    return Traced
