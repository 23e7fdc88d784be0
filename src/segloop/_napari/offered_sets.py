"""The training sets that Fine-tune offers to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segloop._napari.session import Session, is_training_set, task_of, training_sets


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
    ) -> tuple[list[Path | None], Path | None]:
        """Return the sets to offer, those to learn from first, and which of them is to be chosen.

        Parameters
        ----------
        tasks : sequence of str
            What a set to learn from may hold; sets of other tasks are offered after them.
        opened : sequence of Path
            The sets that what is reviewed in the open layers goes into; they may have to be made.
        current : Path or None
            The set chosen so far.

        Returns
        -------
        list of Path or None
            None comes first, for no choice, where nothing but sets of other tasks is there.
        Path or None
        """
        filled = [folder for sets in self._session.filled_sets.values() for folder in sets]
        chosen = [self._session.training_folder(task) for task in ("instance", "semantic")]
        made = [folder for folder in dict.fromkeys([*chosen, *filled, *training_sets()]) if is_training_set(folder)]
        fitting = [folder for folder in made if task_of(folder) in (*tasks, "")]
        others = [folder for folder in made if folder not in fitting]
        # where there is none yet, all that is open makes the first ones, without a choice
        fitting = list(dict.fromkeys([*fitting, *opened])) if fitting else []
        usual = [self._session.training_folder(task) for task in tasks]
        news = [folder for folder in (*opened, *usual) if folder in fitting and folder not in self._known]
        self._known = {*opened, *usual}
        if not fitting:
            return ([None, *others] if others else []), None
        if news and current is not None:
            current = news[0]
        return [*fitting, *others], current if current in fitting else fitting[0]
