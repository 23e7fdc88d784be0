"""What the numbers in label files mean, as a person says it on the command line."""

from __future__ import annotations

from enum import Enum

from segloop.errors import SettingsError


class LabelsAre(Enum):
    """The values of ``--labels-are``."""

    AUTO = "auto"
    INSTANCES = "instances"
    CLASSES = "classes"

    @classmethod
    def named(cls, name: str) -> LabelsAre:
        """Return the value called ``name``.

        Raises
        ------
        SettingsError
        """
        try:
            return cls(name)
        except ValueError as error:
            names = ", ".join(value.value for value in cls)
            raise SettingsError(f"--labels-are {name!r} is unknown; choose from {names}") from error
