"""The Models dock: versions are shown, put back, compared and deleted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from segloop import store
from segloop._napari.models_dock import ModelsDock
from segloop.events import FoundRegion
from segloop.models.registry import get_family
from segloop.train.finetune import FinetuneResult
from segloop.versions import list_versions, save_result

PATIENCE = 60_000


def found(seed: int) -> FoundRegion:
    rng = np.random.default_rng(seed)
    reference = np.zeros((64, 64), np.uint8)
    reference[10:30, 12:34] = 1
    seen = np.roll(reference, 2 + seed, axis=1)
    image = (40 + 120 * reference + rng.integers(0, 40, reference.shape)).astype(np.uint8)
    return FoundRegion(image, reference, seen, np.ones((64, 64), bool))


def training(after: float, epochs: int = 20) -> dict[str, Any]:
    return {
        "before": 0.41,
        "before_error": 0.031,
        "after": after,
        "after_error": 0.024,
        "gain_error": 0.02,
        "own_before": 0.689,
        "own_after": 0.6,
        "metric": "mean Dice of the classes",
        "learned_from": {"regions": 8, "objects": 57},
        "train_regions": 6,
        "held_out_regions": 2,
        "settings": {"seed": 0, "validation": 0.25, "epochs": epochs, "batch": 4},
        "epochs": epochs,
        "curve": [[n, 1 / n, 0.41 + (after - 0.41) * n / epochs] for n in range(1, epochs + 1)],
        "entries": [{"id": "0001", "source": "a.tif", "image": "1", "labels": str(epochs), "reviewed": "3"}],
        "device": "cpu",
    }


@pytest.fixture
def three(segloop_home: Any) -> str:
    """Three versions of an own model, each made from the one before."""
    family = get_family("unet")
    spec = family.new_spec("mine", ("background", "foreground"), 1, 2, family.sizes()[0])
    spec = replace(spec, architecture=dict(spec.architecture) | {"levels": 2, "base_channels": 4})
    for number, after in ((1, 0.62), (2, 0.7), (3, 0.66)):
        parent = "nuclei-unet@1" if number == 1 else f"mine@{number - 1}"
        model = family.build(replace(spec, parent=parent, training=training(after, 10 * number)))
        pictures = {"before": (found(9), found(8)), "after": (found(number), found(0))}
        save_result(FinetuneResult(model, (), 0.41, after, "Dice", pictures=pictures), "mine")
    return "mine"


@pytest.fixture
def models(three: str, dock: Any, qtbot: Any) -> ModelsDock:
    """The Models dock beside the SegLoop dock, with version 3 of "mine" chosen."""
    dock.session.reload_models()
    dock.session.choose_model(three)
    made = ModelsDock(dock._viewer)
    dock._viewer.window.add_dock_widget(made, name="Models")
    settle(qtbot, made)
    return made


def settle(qtbot: Any, models: ModelsDock) -> None:
    qtbot.waitUntil(lambda: models.job is None and bool(models.models), timeout=PATIENCE)


def items(models: ModelsDock, name: str = "mine") -> dict[str, Any]:
    tree = models.list
    parent = next(i for i in map(tree.topLevelItem, range(tree.topLevelItemCount())) if i.text(0).split(" ")[0] == name)
    children = [parent.child(n) for n in range(parent.childCount())]
    return {child.data(0, Qt.ItemDataRole.UserRole): child for child in children}


def plain(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.replace("\N{NO-BREAK SPACE}", " ") for text in texts)


def press(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_versions_are_shown_newest_first(models: ModelsDock) -> None:
    shown = items(models)
    assert list(shown) == ["mine@3", "mine@2", "mine@1"]
    assert [item.text(0) for item in shown.values()] == ["3 · in use", "2", "1 from nuclei-unet"]
    assert shown["mine@2"].text(1) == "0.700"
    assert models.list.currentItem() is shown["mine@3"]
    tree = models.list
    assert [tree.topLevelItem(n).text(0) for n in range(tree.topLevelItemCount())] == [
        "mine · classes",
        "nuclei-maskrcnn · objects · bundled",
        "nuclei-unet · classes · bundled",
        "objects-maskrcnn · objects · bundled",
    ]


def test_two_versions_are_compared(qtbot: Any, models: ModelsDock) -> None:
    # beside it stands the one that it was made from
    assert models.other.current().version == 2
    rows = models.table.rows
    assert plain(rows["After"]) == ("0.660 ± 0.024", "0.700 ± 0.024")
    assert plain(rows["Gain"]) == ("+0.250 ± 0.020", "+0.290 ± 0.020")
    assert rows["Own images"] == ("0.689 → 0.600",) * 2
    assert rows["From"] == ("version 2", "version 1") and rows["Objects"] == ("57", "57")
    assert rows["Blocks"] == ("6 + 2 held out",) * 2 and rows["Epochs"] == ("30", "20")
    # the labels of the training set changed in between
    assert "scored on different regions" in models.caution.text()
    assert len(models.curves.score.listDataItems()) == 2
    assert len(models.curves.score.listDataItems()[0].getData()[0]) == 31
    qtbot.waitUntil(lambda: models.pictures.isVisibleTo(models), timeout=PATIENCE)
    assert [caption.text().split(":")[0] for caption, _ in models.pictures.groups] == [
        "Held out, version 3",
        "Held out, version 2",
    ]
    models.other.setCurrentIndex(0)
    models.other.activated.emit(0)
    assert rows is not models.table.rows and plain(models.table.rows["After"]) == ("0.660 ± 0.024",)
    qtbot.waitUntil(lambda: models.pictures.groups[0][0].text().startswith("Held out, before"), timeout=PATIENCE)
    assert models.caution.text() == "" and str(list_versions("mine")[0].path) in models.place.text()


def test_an_earlier_version_is_chosen_in_segment_again(qtbot: Any, models: ModelsDock, dock: Any) -> None:
    dock.session.choose_model("nuclei-unet")
    models.list.setCurrentItem(items(models)["mine@2"])
    assert models.use.isEnabled()
    press(qtbot, models.use)
    settle(qtbot, models)
    assert dock.session.model == "mine" and dock.segment.model.current() == "mine"
    info = dock.session.find_model("mine")
    assert info.version == 2 and info.path.name == "2"
    assert items(models)["mine@2"].text(0) == "2 · in use" and items(models)["mine@3"].text(0) == "3"
    assert not models.use.isEnabled() and "version 2 from now on" in models.status.text()
    # and segments
    dock._viewer.add_image(np.zeros((64, 64), np.uint8))
    press(qtbot, dock.segment.run)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert dock._viewer.layers[-1].metadata["segloop"]["model"]["version"] == 2


def test_deleting_is_asked_about(qtbot: Any, models: ModelsDock) -> None:
    models.list.setCurrentItem(items(models)["mine@2"])
    press(qtbot, models.delete)
    assert models.question.text() == "Delete version 2 of mine for good? This cannot be undone."
    press(qtbot, models.keep)
    assert models.question.text() == "" and store.load_model("mine@2").spec.version == 2
    press(qtbot, models.delete)
    press(qtbot, models.confirm)
    settle(qtbot, models)
    assert list(items(models)) == ["mine@3", "mine@1"]
    # the child lives on, and says what is gone
    assert models.list.currentItem() is items(models)["mine@3"]
    assert models.table.rows["From"] == ("version 2 (deleted)",)
    assert store.load_model("mine").spec.version == 3


def test_what_is_in_use_or_bundled_cannot_be_deleted(qtbot: Any, models: ModelsDock, dock: Any) -> None:
    assert not models.delete.isEnabled() and "put another version into use first" in models.reason.text()
    bundled = next(
        models.list.topLevelItem(n) for n in range(3) if "nuclei-unet" in models.list.topLevelItem(n).text(0)
    )
    models.list.setCurrentItem(bundled)
    assert not models.delete.isEnabled() and not models.use.isEnabled() and "Bundled" in models.reason.text()
    for label in ("mine@1", "mine@2"):
        models.list.setCurrentItem(items(models)[label])
        press(qtbot, models.delete)
        press(qtbot, models.confirm)
        settle(qtbot, models)
    # the last one is chosen in Segment
    models.list.setCurrentItem(items(models)["mine@3"])
    assert not models.delete.isEnabled() and "Chosen in Segment" in models.reason.text()
    dock.session.choose_model("nuclei-unet")
    models.refresh()
    settle(qtbot, models)
    assert models.delete.isEnabled()
    press(qtbot, models.delete)
    assert models.question.text().startswith("Delete the model mine for good?")
    press(qtbot, models.confirm)
    settle(qtbot, models)
    assert not (store.home() / "models" / "mine").exists() and dock.session.find_model("mine") is None


def test_a_damaged_version_is_seen(qtbot: Any, models: ModelsDock, dock: Any) -> None:
    file = store.home() / "models" / "mine" / "3" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    models.refresh()
    settle(qtbot, models)
    assert items(models)["mine@3"].text(0) == "3 · damaged"
    models.list.setCurrentItem(items(models)["mine@3"])
    assert "sha256 differs" in models.damage.text() and not models.use.isEnabled()
    models.list.setCurrentItem(items(models)["mine@1"])
    press(qtbot, models.use)
    settle(qtbot, models)
    assert dock.session.find_model("mine").version == 1


def test_what_is_saved_elsewhere_appears(qtbot: Any, models: ModelsDock) -> None:
    model = store.load_model("mine@1")
    store.save_model(model, "mine")
    store.save_model(model, "another")
    qtbot.waitUntil(lambda: "mine@4" in items(models), timeout=PATIENCE)
    names = [info.name for info, _ in models.models]
    qtbot.waitUntil(lambda: "another" in [info.name for info, _ in models.models], timeout=PATIENCE)
    assert names[-1] == "objects-maskrcnn" and models._chosen == "mine@3"


def test_the_manifest_opens_it_without_the_other_dock(make_napari_viewer: Any, qtbot: Any, three: str) -> None:
    viewer = make_napari_viewer()
    _, models = viewer.window.add_plugin_dock_widget("napari-segloop", "Models")
    settle(qtbot, models)
    assert models._chosen == "mine@3"
    models.list.setCurrentItem(items(models)["mine@1"])
    press(qtbot, models.use)
    settle(qtbot, models)
    assert store.load_model("mine").spec.version == 1


def test_it_is_opened_from_the_fine_tune_tab(qtbot: Any, three: str, dock: Any) -> None:
    press(qtbot, dock.finetune.versions)
    opened = [widget for widget in dock._viewer.window.dock_widgets.values() if isinstance(widget, ModelsDock)]
    assert len(opened) == 1
    settle(qtbot, opened[0])
    press(qtbot, dock.finetune.versions)
    assert sum(isinstance(widget, ModelsDock) for widget in dock._viewer.window.dock_widgets.values()) == 1
