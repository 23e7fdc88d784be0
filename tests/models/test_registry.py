"""Families by name: imported one after the other, and blamed themselves where that fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from segloop.errors import ModelError
from segloop.models import registry
from segloop.store import load_model, write_model


@pytest.fixture(autouse=True)
def nothing_imported() -> Iterator[None]:
    registry.get_family.cache_clear()
    yield
    registry.get_family.cache_clear()


@dataclass
class Point:
    """An entry point that takes a while, and notes how many do at once."""

    loading: list[str] = field(default_factory=list)
    most: int = 0

    def load(self) -> str:
        self.loading.append("")
        self.most = max(self.most, len(self.loading))
        time.sleep(0.05)
        self.loading.pop()
        return "family"


def test_threads_import_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    point = Point()
    monkeypatch.setattr(registry, "entry_points", lambda **_: [point])
    with ThreadPoolExecutor(4) as threads:
        families = list(threads.map(registry.get_family, ["one", "one", "two", "three"]))
    assert families == ["family"] * 4
    assert point.most == 1


def test_a_family_that_cannot_be_imported_is_not_the_models_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = registry.get_family("unet")
    spec = family.new_spec("own", ("background", "foreground"), 1, 2, family.sizes()[0])
    write_model(family.build(spec), tmp_path / "own")
    registry.get_family.cache_clear()

    class Broken:
        def load(self) -> None:
            raise RuntimeError("deadlock detected by _ModuleLock")

    monkeypatch.setattr(registry, "entry_points", lambda **_: [Broken()])
    with pytest.raises(ModelError, match="'unet' cannot be imported: deadlock") as error:
        load_model(tmp_path / "own")
    assert "model.json" not in str(error.value)
