"""The correction tools, each said once: from here follow buttons, keys, tooltips and the table of keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

NOT_OBJECTS = "These labels are classes, not objects: correct them with napari's brush, bucket and polygon."
NOT_A_STACK = "This layer has one slice only."


class Group(Enum):
    """Where a tool stands in the panel."""

    OBJECT = "Object"
    SHAPE = "Outline"
    PARTS = "Join, split"
    SLICES = "Slices"
    EDITS = "Edits"


class Use(Enum):
    """How a tool is used."""

    PRESS = auto()
    """It acts on the selected objects at once."""
    CLICKS = auto()
    """It stays active until it is pressed again, and acts by clicks and strokes on the canvas."""


@dataclass(frozen=True)
class Tool:
    """One tool.

    Parameters
    ----------
    name : str
        The method of the step that does it.
    title : str
        On the button.
    key : str
        As napari writes keys, such as "Shift-D".
    help : str
        A sentence or two.
    group : Group
    use : Use
    classes : bool
        Whether it makes sense where the numbers are classes, not objects.
    """

    name: str
    title: str
    key: str
    help: str
    group: Group
    use: Use = Use.PRESS
    classes: bool = False

    @property
    def tip(self) -> str:
        """The tooltip: what it does, and its key."""
        return f"{self.help}\nKey: {show_key(self.key)}"


TOOLS = (
    Tool("new_object", "New", "N", "Take the next free number and the brush.", Group.OBJECT),
    Tool("delete_object", "Delete", "D", "Delete the selected objects.", Group.OBJECT),
    Tool("confirm_object", "Confirm", "Y", "The selected objects are right as they are.", Group.OBJECT),
    Tool(
        "delete_at_border",
        "At border",
        "Shift-D",
        "Delete all objects that touch the border of the image.",
        Group.OBJECT,
    ),
    Tool("grow", "Grow", ".", "One pixel more all around, never over other objects.", Group.SHAPE),
    Tool("shrink", "Shrink", ",", "One pixel less all around.", Group.SHAPE),
    Tool("smooth", "Smooth", "O", "Round off the outline.", Group.SHAPE),
    Tool("fill_holes", "Fill holes", "H", "Fill the background that the object encloses.", Group.SHAPE),
    Tool(
        "toggle_merging",
        "Merge",
        "G",
        "Merge the selected objects; or click an object, then those that belong to it. Press again to end.",
        Group.PARTS,
        Use.CLICKS,
    ),
    Tool(
        "toggle_cutting",
        "Cut",
        "S",
        "Draw a line across an object: it is cut in two along it. Press again to end.",
        Group.PARTS,
        Use.CLICKS,
    ),
    Tool(
        "toggle_seeding",
        "Split",
        "W",
        "Click once in each part of an object: it is split along its waists. Press again to end.",
        Group.PARTS,
        Use.CLICKS,
    ),
    Tool(
        "toggle_outlining",
        "Outline",
        "A",
        "Draw around an object in one stroke: it is filled, and takes the place of what was there. Press again to end.",
        Group.PARTS,
        Use.CLICKS,
    ),
    Tool(
        "copy_previous",
        "◂ Copy",
        "Shift-Left",
        "Draw the selected objects on the slice before this one, and go there.",
        Group.SLICES,
        classes=True,
    ),
    Tool(
        "interpolate",
        "Fill between",
        "I",
        "Fill in the selected object on the slices between those it is drawn on; several selected ones become one.",
        Group.SLICES,
        classes=True,
    ),
    Tool(
        "copy_next",
        "Copy ▸",
        "Shift-Right",
        "Draw the selected objects on the slice after this one, and go there.",
        Group.SLICES,
        classes=True,
    ),
    Tool("next_class", "Next class", "C", "Give the selected objects the next class of the list.", Group.EDITS),
)

MORE_KEYS = (
    ("click", "Select", "Select the object under the pointer, while the camera can be moved (key Z)."),
    ("Shift+click", "Select", "Select one more object, or one less."),
    ("Q", "Accept / reject", "Point: a click adds what the model found, or removes what it drew. Press again to end."),
    ("R", "Box …", "Draw a box around an object, or click on it: the model fills it. Press again to end."),
    ("J", "Review next", "Go to where the model is least sure."),
    ("K", "Region is right", "Mark the region as reviewed, and go on."),
    ("Ctrl+Z", "Undo", "Take back the last edit."),
    ("Ctrl+Shift+Z", "Redo", "Do it again."),
    ("P", "Brush", "napari's own, as are the keys below."),
    ("E", "Eraser", "Paint background."),
    ("F", "Bucket", "Fill a region with the selected number."),
    ("3", "Polygon", "Fill a polygon with the selected number."),
    ("L", "Picker", "Select by clicks in any mode."),
    ("Z", "Camera", "Move the picture; click to select."),
    ("B", "Preserve labels", "Whether painting leaves other objects as they are."),
    ("[ ]", "Brush size", "Smaller, larger."),
)
"""What goes with the tools, here and in napari: key, title, what it does."""


def find(name: str) -> Tool:
    """Return the tool of this name."""
    return next(tool for tool in TOOLS if tool.name == name)


def show_key(key: str) -> str:
    """Write a key as people know it."""
    return key.replace("Shift-", "Shift+").replace("Left", "←").replace("Right", "→")
