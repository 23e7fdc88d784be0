"""What can go wrong, as a tree of exceptions.

Every message says what was got, what was expected and what to do; the command line prints it as one line, the
window shows it beside the input that caused it.
"""

from __future__ import annotations


class SegloopError(Exception):
    """Base of all errors that a user can do something about."""


class ImageError(SegloopError, ValueError):
    """An image or its axes cannot be used: wrong letters, no pixels, wrong channel count."""


class ChannelError(ImageError):
    """An image has more channels than a model takes, which one of them may suit."""


class LabelsError(SegloopError, ValueError):
    """A label image cannot be used: not integers, negative, or of another shape than its image."""


class FileError(SegloopError, OSError):
    """A file cannot be read or written."""


class ModelError(SegloopError, ValueError):
    """A model is unknown, damaged, or does not fit the image or the task."""


class TrainingError(SegloopError, RuntimeError):
    """Training cannot start or go on: nothing reviewed, a loss that is not finite."""


class SegmentError(SegloopError, RuntimeError):
    """An image cannot be segmented on this machine: there is too little memory."""


class SettingsError(SegloopError, ValueError):
    """A setting is out of its range."""


class RangeError(SettingsError):
    """A number of a settings dataclass is out of its range.

    Parameters
    ----------
    field : str
        Name of the dataclass's field.
    label : str
        What a form calls it.
    problem : str
        What it is, and what was expected: "is 7; expected 0 to 1".
    """

    def __init__(self, field: str, label: str, problem: str) -> None:
        super().__init__(field, label, problem)
        self.field, self.label, self.problem = field, label, problem

    def __str__(self) -> str:
        return f"{self.label} {self.problem}"


class PromptError(SegloopError, ValueError):
    """A box or point given by hand cannot be used: too small, or outside the image."""
