"""The dock "Models": the panel joined to what is on the disk, and to the SegLoop docks of the same viewer."""

from __future__ import annotations

from collections.abc import Collection, Generator
from functools import partial
from typing import Any

import napari
from qtpy.QtCore import QFileSystemWatcher

from segloop._napari import version_words as words
from segloop._napari.choosers import describe_model
from segloop._napari.dock import Dock
from segloop._napari.jobs import Job, Work, explain
from segloop._napari.panels.models import ModelsPanel
from segloop._napari.session import Session
from segloop._napari.steps.step import timer
from segloop.errors import ModelError
from segloop.events import Event, FoundRegion
from segloop.store import ModelInfo, home, list_models
from segloop.versions import Version, delete_version, list_versions, use_version

Models = list[tuple[ModelInfo, tuple[Version, ...]]]
AFTER_CHANGES = 300
"""Milliseconds without a change on the disk, after which it is read again."""


class ModelsDock(ModelsPanel):
    """The dock "Models".

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Named so that napari hands it over.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.models: Models = []
        self._chosen, self._other = "", ""
        self.job: Job | None = None
        self._pictures: Job | None = None
        self._again = False
        self._changed = timer(self, AFTER_CHANGES, self.refresh)
        self._watcher = QFileSystemWatcher(self)
        self._watcher.directoryChanged.connect(self._changed.start)
        self.version_chosen.connect(self._on_version)
        self.other_chosen.connect(self._on_other)
        self.use_requested.connect(self.use_chosen)
        self.delete_requested.connect(self.ask_to_delete)
        self.deletion_confirmed.connect(self.delete_chosen)
        self._viewer.events.theme.connect(self._on_theme)
        self.destroyed.connect(partial(_let_go, self._viewer, self._on_theme))
        self._on_theme()
        self.refresh()

    # what is on the disk

    def refresh(self) -> None:
        """Read the models again, beside the window."""
        if self.job is not None:
            self._again = True
            return
        self._begin(read_models, self._on_read)

    def _on_read(self, models: Models) -> None:
        self.models = models
        versions = self._versions()
        if self._chosen not in versions:
            # her own model that she works with, else any of her own
            wanted = [session.model for session in self._sessions()]
            in_use = sorted((v for v in versions.values() if v.in_use), key=lambda v: (v.bundled, v.name not in wanted))
            version = next(iter(in_use), None)
            self._chosen, self._other = ("", "") if version is None else (version.label, version.parent)
        self.show_models(self.models, self._chosen)
        self._show()
        self._watch()

    def _watch(self) -> None:
        """Look at the folders from now on: versions may also come from a terminal, or another window."""
        parent = home() / "models"
        while not parent.is_dir() and parent.parent != parent:
            parent = parent.parent
        wanted = {str(parent), *(str(info.path.parent) for info, _ in self.models if not info.bundled)}
        if gone := set(self._watcher.directories()) - wanted:
            self._watcher.removePaths(list(gone))
        if new := wanted - set(self._watcher.directories()):
            self._watcher.addPaths(list(new))

    def _versions(self) -> dict[str, Version]:
        return {version.label: version for _, versions in self.models for version in versions}

    def _sessions(self) -> list[Session]:
        """The sessions of the SegLoop docks in this viewer."""
        docks = self._viewer.window.dock_widgets.values()
        return [dock.session for dock in docks if isinstance(dock, Dock)]

    # what is shown

    @property
    def shown(self) -> tuple[Version, ...]:
        """The version chosen and, if there is one, that beside it."""
        versions = self._versions()
        labels = [label for label in (self._chosen, self._other) if label in versions]
        return tuple(versions[label] for label in labels)

    def _on_version(self, label: str) -> None:
        self._chosen = label
        version = self._versions().get(label)
        # beside it, the one that it was made from
        self._other = version.parent if version is not None else ""
        self._show()

    def _on_other(self, version: Version | None) -> None:
        self._other = version.label if version is not None else ""
        self._lay_out()

    def _show(self) -> None:
        """Show the version chosen and the one beside it."""
        versions = self._versions()
        version = versions.get(self._chosen)
        self.ask("")
        if version is None:
            self._other = ""
            self._lay_out()
            self.show_actions(False, False, "")
            return
        siblings = {v.label: v for v in versions.values() if v.name == version.name and v is not version}
        if self._other not in siblings:
            self._other = ""
        self.other.show_items(
            [None, *siblings.values()] if siblings else [],
            ["nothing", *(f"version {v.version}" for v in siblings.values())],
            siblings.get(self._other),
        )
        self.other_field.setVisible(bool(siblings))
        self._allow(version, siblings)
        self._lay_out()

    def _allow(self, version: Version, siblings: Collection[str]) -> None:
        can_use = not version.bundled and not version.in_use and not version.damage
        why = ""
        if version.bundled:
            why = "Bundled with SegLoop: it cannot be deleted."
        elif version.in_use and siblings:
            why = "In use: to delete it, put another version into use first."
        elif any(session.model == version.name for session in self._sessions()) and version.in_use:
            why = "Chosen in Segment: to delete it, choose another model there first."
        self.show_actions(can_use, not why, why)

    def _lay_out(self) -> None:
        shown = self.shown
        labels = frozenset(self._versions())
        self.damage.show_text(shown[0].damage if shown else "")
        info = next((info for info, own in self.models if shown and shown[0] in own), None)
        self.about.show_text("" if info is None or info.damage else describe_model(info))
        own = tuple(version for version in shown if not version.bundled)
        self.table.show_rows([f"Version {version.version}" for version in own], words.rows(own, labels) if own else ())
        self.scored_by.show_text(words.scored_by(own))
        self.caution.show_text(words.caution(shown))
        self.place.show_text(f"Kept in {shown[0].path}" if shown and not shown[0].bundled else "")
        self._draw_curves(shown)
        self.pictures.show_groups([])
        if self._pictures is not None:
            self._pictures.cancel()
        if any(not v.bundled for v in shown):
            self._pictures = Job("SegLoop", partial(read_shown, shown), self)
            self._pictures.done.connect(self._on_pictures)
            self._pictures.failed.connect(lambda error: self.show_status(explain(error), "warning"))
            self._pictures.start()

    def _draw_curves(self, shown: tuple[Version, ...]) -> None:
        if self.curves is None and any(version.curve for version in shown):
            # pyqtgraph takes a moment to import
            from segloop._napari.panels.version_curves import VersionCurves

            self.curves = VersionCurves()
            self.plots_place.addWidget(self.curves)
        if self.curves is not None:
            self.curves.show_versions(shown, self._viewer.theme)

    def _on_pictures(self, groups: list[tuple[str, tuple[FoundRegion, ...]]]) -> None:
        self.pictures.show_groups(groups)

    # what can be done

    def use_chosen(self) -> None:
        """Put the version chosen into use, and choose its model in Segment."""
        if self.shown and self.job is None:
            version = self.shown[0]
            self._begin(partial(put_into_use, version), self._on_used)

    def _on_used(self, version: Version) -> None:
        sessions = self._sessions()
        for session in sessions:
            session.reload_models()
            session.choose_model(version.name)
        where = " It is chosen in Segment." if sessions else ""
        self.show_status(f"{version.name} is version {version.version} from now on.{where}", "good")
        self._again = True

    def ask_to_delete(self) -> None:
        """Ask before the version chosen is deleted."""
        if self.shown:
            version = self.shown[0]
            alone = sum(v.name == version.name for v in self._versions().values()) == 1
            what = f"the model {version.name}" if alone else f"version {version.version} of {version.name}"
            self.ask(f"Delete {what} for good? This cannot be undone.")

    def delete_chosen(self) -> None:
        """Delete the version chosen."""
        self.ask("")
        if self.shown and self.job is None:
            self._begin(partial(delete, self.shown[0]), self._on_deleted)

    def _on_deleted(self, version: Version) -> None:
        for session in self._sessions():
            session.reload_models()
        if version.label in (self._chosen, self._other):
            self._other = ""
        if self._chosen == version.label:
            self._chosen = next((v.label for v in self._versions().values() if v.name == version.name and v.in_use), "")
        self.show_status(f"Deleted {version.label}.", "hint")
        self._again = True

    def _begin(self, work: Work, done: Any) -> None:
        self.job = Job("SegLoop", work, self)
        self.job.done.connect(done)
        self.job.failed.connect(self._on_failed)
        self.job.ended.connect(self._on_ended)
        self.job.start()

    def _on_failed(self, error: Exception) -> None:
        self.show_status(explain(error), "error")
        self._again = self._again or bool(self.models)

    def _on_ended(self) -> None:
        self.job = None
        if self._again:
            self._again = False
            self.refresh()

    def _on_theme(self, event: Any = None) -> None:
        self.apply_theme(self._viewer.theme)
        if self.models:
            self.show_models(self.models, self._chosen)
            self._draw_curves(self.shown)


def read_models() -> Generator[Event, None, Models]:
    """Read all models with their versions; own ones hide bundled ones of the same name."""
    found = list_models()
    own = {info.name for info in found if not info.bundled}
    return [
        (info, list_versions(info.name, thorough=True))
        for info in sorted(found, key=lambda info: info.bundled)
        if not info.bundled or info.name not in own
    ]
    yield


def read_shown(versions: tuple[Version, ...]) -> Generator[Event, None, list[tuple[str, tuple[FoundRegion, ...]]]]:
    """Read the pictures to show: of one version before and after training, of two what each finds."""
    groups = []
    legend = "green corrected, orange found, white both"
    if len(versions) == 1:
        pictures = versions[0].pictures()
        for stage in ("before", "after"):
            groups.append((f"Held out, {stage} training: {legend}", pictures.get(stage, ())))
    else:
        for version in versions:
            found = version.pictures().get("after", ())
            groups.append((f"Held out, version {version.version}: {legend}", found))
    return groups
    yield


def put_into_use(version: Version) -> Generator[Event, None, Version]:
    """Put a version into use."""
    use_version(version.name, version.version)
    return version
    yield


def delete(version: Version) -> Generator[Event, None, Version]:
    """Delete a version, unless a training needs it."""
    from segloop.trainings import open_trainings

    for training in open_trainings():
        if training.order.base == version.path and (training.is_running or training.can_resume):
            raise ModelError(
                f"the training of {training.order.name} began with {version.label} and is not done; let it end, or "
                "forget it in Fine-tune"
            )
    delete_version(version.name, version.version)
    return version
    yield


def _let_go(viewer: napari.Viewer, slot: Any, _: Any = None) -> None:
    viewer.events.theme.disconnect(slot)
