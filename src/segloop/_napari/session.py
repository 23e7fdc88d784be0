"""The session: what was chosen and what was made, without Qt. One per dock; panels and steps are given it."""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
from napari.layers import Image, Labels, Shapes
from psygnal import Signal

from segloop import store
from segloop._napari.ledger import Ledger
from segloop.errors import SegloopError
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop._napari.live_class_layer import LiveClassLayer
    from segloop._napari.live_layer import LiveLayer
    from segloop._napari.live_part_layer import LivePartLayer
    from segloop._napari.live_strip_layer import LiveStripLayer
    from segloop.candidates import ClassScores

DEFAULT_SET = "my-corrections"

UNNAMED = ("object",)
"""Classes of objects that nobody named, as ``io.notes`` and ``corrections`` have it, and of models of no kind."""

TRAINING_SET_FILE = "training_set.json"
"""``segloop.corrections`` says so too, but importing it takes long, and the dock is to open at once."""

Stack = tuple[weakref.ref[Image], ...]
"""Image layers that are seen together, as the channels of one image."""

SHARED = (
    *("_model", "_folders", "filled_sets", "axes", "stacks", "learns_all_channels", "origins", "regions"),
    *("wholly_reviewed", "reviewed_last", "live", "live_classes", "live_parts", "scores", "scribbles"),
)
"""What the sessions of docks that are opened one after the other in a viewer have in common."""


@dataclass(frozen=True)
class Origin:
    """Where a Labels layer comes from.

    Parameters
    ----------
    image : weak reference to the image layer
        Dead when the image was removed.
    axes : str
        What the image's dimensions mean.
    channel : int
        The channel that was segmented, or -1 for all.
    task : str
        "instance" or "semantic".
    classes : tuple of str
        Object classes, or the name of each label value, background first.
    model : str
        The model that made it; "" for labels from elsewhere.
    untouched : int
        Checksum of the labels as the model gave them; tells whether a person edited them since.
    provenance : dict
        Model, settings and image, as exports carry them.
    stack : tuple of weak references to image layers
        Those that were seen together, as the channels of one image; () for the image layer alone.
    """

    image: weakref.ref[Image]
    axes: str
    channel: int = -1
    task: str = "instance"
    classes: tuple[str, ...] = ()
    model: str = ""
    untouched: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    stack: Stack = ()


class Session:
    """All state of the loop. Slots of its signals run in the thread that sets it: the main thread.

    Parameters
    ----------
    earlier : Session, optional
        That of a dock of the same viewer that was closed. What it knows of layers, and what was chosen, is shared; who
        listened to it is not, nor what followed a layer's edits for the dock: ledgers are written anew.
    """

    models_changed = Signal()
    model_changed = Signal(str)
    training_set_changed = Signal()
    axes_changed = Signal()
    # a Labels layer: its labels were copied to be written into a file; they are in the file
    saving = Signal(object)
    saved = Signal(object)
    # what was drawn past a layer's undo, by thresholds: the layer, and a tuple of Redrawn
    redrawn = Signal(object, object)

    def __init__(self, earlier: Session | None = None) -> None:
        self.models: tuple[ModelInfo, ...] = ()
        self._model = ""
        self._folders: dict[str, Path] = {}
        # training sets by task that something was put into since the dock was opened
        self.filled_sets: dict[str, dict[Path, None]] = {}
        # whether a set, by what its file was when it was read, can hold labels of a task, classes and channels, and
        # whether a person chose it
        self._holding: dict[tuple[Path, int, int, str, tuple[str, ...], int, bool], bool] = {}
        self.axes: weakref.WeakKeyDictionary[Image, str] = weakref.WeakKeyDictionary()
        # of an image layer, those that a person chose to be seen with it as the channels of one image
        self.stacks: weakref.WeakKeyDictionary[Image, Stack] = weakref.WeakKeyDictionary()
        # whether all channels of corrected images are learned, and not only those that were segmented
        self.learns_all_channels = False
        self.origins: weakref.WeakKeyDictionary[Labels, Origin] = weakref.WeakKeyDictionary()
        self.regions: weakref.WeakKeyDictionary[Labels, weakref.ref[Shapes]] = weakref.WeakKeyDictionary()
        self.ledgers: weakref.WeakKeyDictionary[Labels, Ledger] = weakref.WeakKeyDictionary()
        self.wholly_reviewed: weakref.WeakSet[Labels] = weakref.WeakSet()
        # of each image, the labels that a person reviewed last, or put into a training set
        self.reviewed_last: weakref.WeakKeyDictionary[Image, weakref.ref[Labels]] = weakref.WeakKeyDictionary()
        # layers whose candidates are kept
        self.live: weakref.WeakKeyDictionary[Labels, LiveLayer] = weakref.WeakKeyDictionary()
        # layers of classes whose scores are kept, to be moved by a threshold
        self.live_classes: weakref.WeakKeyDictionary[Labels, LiveClassLayer | LiveStripLayer] = (
            weakref.WeakKeyDictionary()
        )
        # layers of objects that were parted from such scores
        self.live_parts: weakref.WeakKeyDictionary[Labels, LivePartLayer] = weakref.WeakKeyDictionary()
        # those that a semantic model made, and how sure it was of each pixel
        self.scores: weakref.WeakKeyDictionary[Labels, ClassScores] = weakref.WeakKeyDictionary()
        # layers of strokes that a model learns from while one paints: no result, and nothing to be corrected
        self.scribbles: weakref.WeakKeyDictionary[Labels, Origin] = weakref.WeakKeyDictionary()
        # those that a run is still drawing: nothing can be done with them yet
        self.unfinished: weakref.WeakSet[Labels] = weakref.WeakSet()
        # each draws what thresholds are still to draw of a layer
        self.followers: list[Callable[[Labels], None]] = []
        if earlier is not None:
            for name in SHARED:
                setattr(self, name, getattr(earlier, name))

    def reload_models(self) -> None:
        """Read the list of models from disk, those that can be read; keep the one chosen if it is still there."""
        found = [info for info in store.list_models() if not info.damage]
        own = {info.name for info in found if not info.bundled}
        # a name means the own model, in the store as well
        self.models = tuple(info for info in found if not info.bundled or info.name not in own)
        if self.find_model(self._model) is None:
            self._model = self.models[0].name if self.models else ""
        self.models_changed.emit()

    @property
    def model(self) -> str:
        """Name of the model chosen for segmenting; "" if there is none."""
        return self._model

    def choose_model(self, name: str) -> None:
        """Choose a model by name."""
        if name != self._model:
            self._model = name
            self.model_changed.emit(name)

    def set_axes(self, image: Image, axes: str) -> None:
        """Say what the dimensions of an image mean."""
        self.axes[image] = axes
        self.axes_changed.emit()

    def find_model(self, name: str) -> ModelInfo | None:
        """Return what is known of a model, or None."""
        return next((info for info in self.models if info.name == name), None)

    def training_folder(self, task: str, classes: tuple[str, ...] = (), channels: int | None = None) -> Path:
        """Folder of the training set for a task; one for each, since a set holds either objects or classes.

        A set holds one choice of classes: where it holds others than ``classes``, it is the usual one if that fits,
        else one named after them. Labels from elsewhere, which name no classes, fit into any. "object" is a class like
        others where a model named it so, unless a person chose the set: then it may lie beside any one class. Images
        of several ``channels`` that are no colours are not put among others: no model could learn both. Without classes
        and channels, it is the one that was chosen last, whatever it holds.
        """
        sets = store.home() / "training_sets"
        usual = sets / (DEFAULT_SET if task == "instance" else f"{DEFAULT_SET}-classes")
        chosen = self._folders.get(task, usual)
        if not classes and channels is None:
            return chosen
        channels = channels or 1
        words = "-".join(re.sub(r"\W+", "-", name.lower()).strip("-") for name in classes)
        own = sets / f"{DEFAULT_SET}-{words}"[:120] if words else usual
        folders = [chosen, usual]
        if channels > 1:
            # the usual one is left to grey and colour images, as long as it holds none of these
            suffix = f"-{channels}-channels"
            own = own.with_name(own.name + suffix)
            folders = [*filter(is_training_set, folders), usual.with_name(usual.name + suffix)]
        elif not words:
            own = usual.with_name(f"{usual.name}-1-channel")
        by_hand = self._folders.get(task)
        fitting = (folder for folder in folders if self._can_hold(folder, task, classes, channels, folder == by_hand))
        return next(fitting, own)

    def choose_training_folder(self, task: str, folder: Path) -> None:
        """Use another folder for the training set of a task."""
        self._folders[task] = folder
        self.training_set_changed.emit()

    def note_added(self, task: str, folder: Path) -> None:
        """Take note that something was put into a training set of a task: it may be learned from."""
        self.filled_sets.setdefault(task, {})[folder] = None
        self.training_set_changed.emit()

    def _can_hold(self, folder: Path, task: str, classes: tuple[str, ...], channels: int, by_hand: bool) -> bool:
        """Whether a folder is free for a training set of these classes and channels, or holds one.

        If nobody chose it for them, objects of the class "object" that a model found are not put among others.
        """
        try:
            stat = (folder / TRAINING_SET_FILE).stat()
        except OSError:
            return True
        known = (folder, stat.st_mtime_ns, stat.st_size, task, classes, channels, by_hand)
        if known not in self._holding:
            from segloop.corrections import TrainingSet

            try:
                training_set = TrainingSet(folder)
                counts = {dict(zip(entry.axes, entry.shape)).get("C", 1) for entry in training_set.entries}
                agrees = not classes or training_set.can_hold(task, classes)
                if agrees and classes and classes != training_set.classes and not by_hand:
                    # one of both is "object": nobody named it only if no model did
                    agrees = classes != UNNAMED and not any(entry.model for entry in training_set.entries)
                self._holding[known] = agrees and counts <= {channels}
            except SegloopError:
                # what is wrong with it is said where it is read
                return True
        return self._holding[known]

    def result_of(self, image: Image, model: str, among: list[Any]) -> Labels | None:
        """Return the newest layer in which ``model`` put its result for ``image``, if it is still in the viewer."""
        for layer in reversed(among):
            origin = self.origins.get(layer) if isinstance(layer, Labels) else None
            if origin is not None and origin.image() is image and origin.model == model:
                return layer
        return None

    def note_reviewed(self, layer: Labels) -> None:
        """Take note that labels were reviewed, or put into a training set, just now."""
        origin = self.origins.get(layer)
        image = origin.image() if origin is not None else None
        if image is not None:
            self.reviewed_last[image] = weakref.ref(layer)

    def bring_up_to_date(self, layer: Labels) -> None:
        """Have all drawn and told that thresholds are still to draw of a layer: it is to be read, or vouched for.

        Raises
        ------
        Exception
            Whatever kept some of it from being drawn. The layer is then partly as the thresholds were before.
        """
        for follower in list(self.followers):
            follower(layer)

    def update_origin(self, layer: Labels, **changes: Any) -> None:
        """Change what is known of where a layer comes from."""
        self.origins[layer] = replace(self.origins[layer], **changes)

    def region_layer(self, labels: Labels) -> Shapes | None:
        """Return the Shapes layer with the reviewed regions of ``labels``, if there is one."""
        reference = self.regions.get(labels)
        return reference() if reference is not None else None


_newest: weakref.WeakKeyDictionary[napari.Viewer, Session] = weakref.WeakKeyDictionary()


def new_session(viewer: napari.Viewer) -> Session:
    """Return a session for a dock that is opened: what docks closed before knew of the viewer's layers, it knows."""
    _newest[viewer] = session = Session(_newest.get(viewer))
    return session


def up_to_date(data: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """Have thresholds drawn to their end in the Labels layer that holds these very data, if there is one.

    Returns
    -------
    dict
        ``attributes`` with the layer's table and metadata as they are then.
    """
    for session in list(_newest.values()):
        for layer in list(session.origins):
            if layer.data is data:
                session.bring_up_to_date(layer)
                return {**attributes, "features": layer.features, "metadata": layer.metadata}
    return attributes


def training_sets() -> list[Path]:
    """All training sets that the window made, by name."""
    return sorted(file.parent for file in (store.home() / "training_sets").glob(f"*/{TRAINING_SET_FILE}"))


def task_of(folder: Path) -> str:
    """What a training set holds, "instance" or "semantic"; "" if there is none or it cannot be read."""
    try:
        document = json.loads((folder / TRAINING_SET_FILE).read_bytes())
    except (OSError, ValueError):
        return ""
    return str(document.get("task", "")) if isinstance(document, dict) else ""


def is_training_set(folder: Path) -> bool:
    """Whether a folder holds a training set."""
    return (folder / TRAINING_SET_FILE).is_file()
