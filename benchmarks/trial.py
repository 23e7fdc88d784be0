"""One way to put an object right, as the scripted annotator tries it: what is done, with what, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from keystrokes import CLICK, THINK, Gesture, key


class Tool(Enum):
    """What the mouse does; changing it is a key."""

    ACCEPT = auto()
    BOX = auto()
    MERGE = auto()
    OUTLINE = auto()
    CUT = auto()
    CAMERA = auto()
    BUCKET = auto()
    ERASER = auto()
    BRUSH = auto()
    PICKER = auto()
    POLYGON = auto()


@dataclass
class Trial:
    """One way to put an object right, tried on a copy of the part of the labels around it."""

    labels: np.ndarray
    tool: Tool
    gestures: list[Gesture] = field(default_factory=lambda: [THINK])
    tools: list[Tool] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)

    def copy(self) -> Trial:
        return Trial(self.labels.copy(), self.tool, list(self.gestures), list(self.tools), list(self.deleted))

    def delete(self, number: int, tool: Tool) -> None:
        """Delete a label by a click."""
        self.do(CLICK, tool)
        self.deleted.append(number)
        self.labels[self.labels == number] = 0

    def do(self, gesture: Gesture, tool: Tool | None = None) -> None:
        """Count a gesture, made with a tool."""
        if tool is not None and tool is not self.tool:
            self.gestures.append(key(tool.name.lower()))
            self.tool = tool
        if tool is not None:
            self.tools.append(tool)
        self.gestures.append(gesture)

    @property
    def actions(self) -> int:
        return sum(gesture.actions for gesture in self.gestures)

    @property
    def seconds(self) -> float:
        return sum(gesture.seconds for gesture in self.gestures)
