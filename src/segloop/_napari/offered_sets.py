"""The training sets that Fine-tune offers to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segloop._napari.session import Session, is_training_set


class OfferedSets:
    """Looks for training sets to learn from, and tells which of them came up since it looked last.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: set[Path] = set()

    def knows(self, opened: Sequence[Path]) -> bool:
        """Whether none of these came up since the last look."""
        return self._known.issuperset(opened)

    def look(
        self, tasks: Sequence[str], opened: Sequence[Path], current: Path | None
    ) -> tuple[list[Path], Path | None]:
        """Return the sets to offer, and which of them is to be chosen.

        Parameters
        ----------
        tasks : sequence of str
            What a set may hold.
        opened : sequence of Path
            The sets that what is reviewed in the open layers goes into; they may have to be made.
        current : Path or None
            The set chosen so far.
        """
        filled = [folder for task in tasks for folder in self._session.filled_sets.get(task, ())]
        usual = [self._session.training_folder(task) for task in tasks]
        made = [folder for folder in dict.fromkeys([*usual, *filled]) if is_training_set(folder)]
        # where there is none yet, all that is open makes the first ones, without a choice
        folders = list(dict.fromkeys([*made, *opened])) if made else []
        news = [folder for folder in (*opened, *usual) if folder in folders and folder not in self._known]
        self._known = {*opened, *usual}
        return folders, news[0] if news and current is not None else current
