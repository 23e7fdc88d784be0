"""Colours and spacing of the dock, in napari's dark and light themes."""

from __future__ import annotations

from dataclasses import dataclass

from napari.utils.theme import get_theme

MARGIN = 8
SPACING = 6
LABEL_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Colors:
    """The colours that napari's themes lack or that are too dark in them for text."""

    error: str
    error_back: str
    good: str
    warning: str
    faint: str
    accent: str
    accent_hover: str
    accent_text: str
    line: str


DARK = Colors("#ff7b72", "#4a2529", "#6fcf7f", "#e3b617", "#a9b1bb", "#3f7fd9", "#5a94e6", "#ffffff", "#4a515c")
LIGHT = Colors("#b3261e", "#f7dcd9", "#1d7a34", "#8a6100", "#5a5f66", "#2f6fcb", "#2560b5", "#ffffff", "#b9b6b3")


def colors(theme: str) -> Colors:
    """Return the colours for a napari theme."""
    return DARK if get_theme(theme).type == "dark" else LIGHT


def style_sheet(theme: str) -> str:
    """Return the dock's style sheet; it adds to napari's own."""
    c = colors(theme)
    napari = get_theme(theme)
    primary, background = napari.primary.as_hex(), napari.background.as_hex()
    return f"""
    QLabel[role="reason"], QLabel[role="error"] {{ color: {c.error}; }}
    QLabel[role="good"] {{ color: {c.good}; }}
    QLabel[role="warning"] {{ color: {c.warning}; }}
    QLabel[role="hint"], QLabel[role="over"] {{ color: {c.faint}; }}
    QLabel[role="heading"] {{ font-weight: 600; padding-top: 4px; }}
    QLineEdit[invalid="true"], QComboBox[invalid="true"], QAbstractSpinBox[invalid="true"] {{
        border: 1px solid {c.error}; background-color: {c.error_back}; color: {napari.text.as_hex()};
    }}
    QPushButton {{ min-height: 20px; padding: 4px 8px; }}
    QPushButton[role="main"] {{
        background-color: {c.accent}; color: {c.accent_text}; font-weight: 600; min-height: 28px;
        border-radius: 3px;
    }}
    QPushButton[role="main"]:hover {{ background-color: {c.accent_hover}; }}
    QPushButton[role="main"]:disabled {{ background-color: {primary}; color: {c.faint}; border: 0px; }}
    QToolButton[role="swatch"] {{ padding: 3px 6px; border: 1px solid transparent; border-radius: 3px; }}
    QToolButton[role="swatch"]:hover {{ border: 1px solid {c.line}; }}
    QToolButton[role="swatch"]:checked {{
        border: 1px solid {c.accent}; background-color: {primary}; font-weight: 600;
    }}
    QFrame[role="line"] {{ background-color: {c.line}; max-height: 1px; min-height: 1px; border: 0; padding: 0; }}
    QProgressBar {{
        border: 0; border-radius: 3px; background-color: {primary}; text-align: center; min-height: 20px;
    }}
    QProgressBar::chunk {{ background-color: {c.accent}; border-radius: 3px; }}
    QTabBar#steps {{ background-color: {background}; }}
    QTabBar#steps::tab {{
        background-color: transparent; color: {c.faint}; padding: 6px 4px; margin: 0; border: 0;
        border-bottom: 2px solid {c.line};
    }}
    QTabBar#steps::tab:hover {{ color: {napari.text.as_hex()}; }}
    QTabBar#steps::tab:selected {{
        color: {napari.text.as_hex()}; font-weight: 600; border-bottom: 2px solid {c.accent};
    }}
    QCollapsible > QPushButton {{
        background-color: transparent; color: {c.faint}; border: 0; padding: 4px 0px; text-align: left;
    }}
    QCollapsible > QPushButton:hover {{ color: {napari.text.as_hex()}; }}
    """
