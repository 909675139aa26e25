"""The page about serving models names every metric, and its settings can be loaded."""

import re
from collections.abc import Callable
from pathlib import Path

from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.settings import load_settings
from antiphon.schemas.inference import EngineMetrics, ModelMetrics

Page = Callable[[str], str]


def test_every_metric_has_a_row(page: Page) -> None:
    """And no row for one that has gone."""
    cells = re.findall(r"^\| (`.*?) \|", page("docs/models.md"), re.M)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == {*EngineMetrics.model_fields, *ModelMetrics.model_fields} - {"model", "server", "engine"}


def test_its_settings_are_accepted(page: Page, tmp_path: Path) -> None:
    """Each file that the page shows can be loaded."""
    blocks = re.findall(r"```toml\n(.*?)```", page("docs/models.md"), re.S)
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "antiphon.toml").write_text(block)
        setting = load_settings({"ANTIPHON_HOME": str(tmp_path)}, tmp_path).models["smollm2-135m"]
    assert isinstance(setting, LocalSetting)
    assert setting.units == {"acme": 3, "globex": 1}
