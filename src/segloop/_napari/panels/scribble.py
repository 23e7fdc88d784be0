"""The Scribble panel: classes to paint with, and a prediction that follows each stroke."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QLineEdit, QToolButton, QWidget

from segloop._napari.choosers import Chooser
from segloop._napari.features import CLASS_COLORS
from segloop._napari.fields import SPACING, Field, TextLabel, button, column

MOST_CLASSES = len(CLASS_COLORS)
SWATCH = 14


class ClassList(QWidget):
    """Names of classes, each with its colour; one is being painted."""

    chosen = Signal(int)
    renamed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._layout = column(self, margin=0)
        self._layout.setSpacing(SPACING - 2)
        self._group = QButtonGroup(self)
        self._group.idClicked.connect(self.chosen)
        self.rows: list[tuple[QToolButton, QLineEdit]] = []

    def show_classes(self, names: Sequence[str], current: int) -> None:
        """Show other classes; ``current`` is the number of the one being painted. Nothing is emitted."""
        while len(self.rows) > len(names):
            for widget in self.rows.pop():
                widget.parentWidget().deleteLater()
        for number in range(len(self.rows), len(names)):
            self._add_row(number)
        for (_, editor), name in zip(self.rows, names):
            if editor.text() != name:
                editor.setText(name)
        with QSignalBlocker(self._group):
            self.rows[current][0].setChecked(True)

    def names(self) -> tuple[str, ...]:
        """The names as they are shown."""
        return tuple(editor.text().strip() for _, editor in self.rows)

    @property
    def current(self) -> int:
        """The number of the one being painted."""
        return self._group.checkedId()

    def problem(self) -> str:
        """Say why no model could learn classes of these names; "" if one can."""
        names = self.names()
        if not all(names):
            return "Every class needs a name."
        return "" if len(set(names)) == len(names) else "Two classes have the same name; each needs one of its own."

    def edit(self, number: int) -> None:
        """Put the cursor into a name, to be replaced."""
        editor = self.rows[number][1]
        editor.setFocus()
        editor.selectAll()

    def _add_row(self, number: int) -> None:
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACING)
        picture = QPixmap(SWATCH, SWATCH)
        picture.fill(QColor(CLASS_COLORS[number]))
        swatch = QToolButton()
        swatch.setIcon(QIcon(picture))
        swatch.setText("Paint")
        swatch.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        swatch.setCheckable(True)
        swatch.setToolTip("Paint this class on the image.")
        swatch.setProperty("role", "swatch")
        editor = QLineEdit()
        editor.setToolTip("Name of the class.")
        editor.setAccessibleName(f"Class {number + 1}")
        editor.textEdited.connect(self.renamed)
        layout.addWidget(swatch)
        layout.addWidget(editor, 1)
        self._group.addButton(swatch, number)
        self._layout.addWidget(row)
        self.rows.append((swatch, editor))


class ScribblePanel(QWidget):
    """Image, classes, Start; what the prediction does; and the way into a training."""

    image_chosen = Signal(object)
    start_requested = Signal()
    stop_requested = Signal()
    class_chosen = Signal(int)
    names_edited = Signal()
    add_requested = Signal()
    remove_requested = Signal()
    finetune_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.image = Chooser("Open an image first")
        self.channel = Chooser("One channel")
        self.image_field = Field("Image", self.image, "The image to paint on.")
        self.channel_field = Field("Channel", self.channel, "The channel that is looked at.")
        self.classes = ClassList()
        self.add = button("Add class", "One more class, with a colour of its own.")
        self.remove = button("Remove class", "Remove the class being painted, and all that was painted of it.")
        self.start = button(
            "Start scribbling",
            "Paint short strokes of each class on the image.\n"
            "After each stroke the part on screen is predicted anew, in a layer to be looked at only.",
        )
        self.stop = button("Stop scribbling", "Take the prediction away. What you painted stays.")
        self.state = TextLabel("hint")
        self.reason = TextLabel("reason")
        self.finetune = button(
            "Fine-tune on scribbles",
            "Train the whole network on what you painted: slower, and for other images too.\n"
            "Only painted pixels are learned from. Model, name, time and settings are those below.",
            "main",
        )
        layout = column(self, margin=0)
        layout.addWidget(TextLabel("hint", "Paint a little of each class. The model learns it while you paint."))
        for widget in (self.image_field, self.channel_field, self.classes):
            layout.addWidget(widget)
        for pair in ((self.add, self.remove),):
            row = QHBoxLayout()
            row.setSpacing(SPACING)
            for one in pair:
                row.addWidget(one)
            layout.addLayout(row)
        for widget in (self.start, self.stop, self.state, self.reason, self.finetune):
            layout.addWidget(widget)
        self.channel_field.hide()
        self.show_active(False)
        self.image.chosen.connect(self.image_chosen)
        self.start.clicked.connect(self.start_requested)
        self.stop.clicked.connect(self.stop_requested)
        self.classes.chosen.connect(self.class_chosen)
        self.classes.renamed.connect(self.names_edited)
        self.add.clicked.connect(self.add_requested)
        self.remove.clicked.connect(self.remove_requested)
        self.finetune.clicked.connect(self.finetune_requested)

    def show_active(self, active: bool) -> None:
        """Show whether scribbles are followed."""
        self.start.setVisible(not active)
        self.stop.setVisible(active)
        self.image_field.setEnabled(not active)
        self.channel_field.setEnabled(not active)
        if not active:
            self.state.show_text("")

    def show_channels(self, channels: int, rgb: bool) -> None:
        """Offer the channels of the image; hidden if there is one only, or if they are colours."""
        self.channel_field.setVisible(channels > 1 and not rgb)
        self.channel.show_items(range(channels), [f"Channel {n}" for n in range(channels)], self.channel.current())
