"""What a gesture costs by the keystroke-level model (Card, Moran and Newell, The Psychology of Human-Computer
Interaction, 1983, chapter 8): the left hand on the keys, the right one on the mouse."""

from __future__ import annotations

import math
from dataclasses import dataclass

KEY, POINT, BUTTON, PREPARE = 0.28, 1.10, 0.10, 1.35
"""Seconds: pressing a key (K, average typist), pointing with the mouse (P), pressing or releasing its button (B),
making up one's mind (M)."""

DRAW_SEGMENT, DRAW_CENTIMETER = 0.90, 0.16
"""Seconds: drawing (D) so many straight segments, of so many centimetres together."""

SEGMENT = 1.0
"""Centimetres: a curve is drawn as straight segments of this length at most."""

OBJECT = 2.0
"""Centimetres: how large a typical object is on the screen, whatever the tool."""


@dataclass(frozen=True)
class Gesture:
    """Something done with the hands.

    Parameters
    ----------
    name : str
    actions : int
        Keys pressed, clicks, and strokes with the button held, however long.
    movements : int
        The same, but a stroke counts once for each straight segment.
    seconds : float
    """

    name: str
    actions: int
    movements: int
    seconds: float


THINK = Gesture("think", 0, 0, PREPARE)
CLICK = Gesture("click", 1, 1, POINT + 2 * BUTTON)


def key(name: str) -> Gesture:
    """A key."""
    return Gesture(f"key {name}", 1, 1, KEY)


def stroke(name: str, centimeters: float) -> Gesture:
    """The mouse is moved to where a line begins, and along it with the button held."""
    segments = max(1, math.ceil(centimeters / SEGMENT))
    drawing = DRAW_SEGMENT * segments + DRAW_CENTIMETER * centimeters
    return Gesture(name, 1, segments, POINT + 2 * BUTTON + drawing)


def drag(name: str) -> Gesture:
    """The mouse is moved to where something begins, and with the button held to where it ends, on whatever way."""
    return Gesture(name, 1, 1, 2 * POINT + 2 * BUTTON)


def polygon(corners: int, centimeters: float) -> Gesture:
    """A click at each corner, and a double click to end."""
    drawing = DRAW_SEGMENT * corners + DRAW_CENTIMETER * centimeters
    return Gesture("polygon", corners + 1, corners + 1, POINT + drawing + 2 * BUTTON * (corners + 2))
