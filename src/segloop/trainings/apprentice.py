"""The process that trains: ``python -m segloop.trainings.apprentice FOLDER``, started by ``segloop.trainings.follow``.

It ends when its standard input does, that is with the process that started it, however that one ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from segloop.corrections import TrainingSet
from segloop.errors import SegloopError
from segloop.events import Event
from segloop.store import load_model, write_model
from segloop.train.checkpoint import FileKeeper
from segloop.train.finetune import FinetuneResult, finetune_events
from segloop.trainings.folder import Ended, Order, TrainingFolder
from segloop.trainings.messages import to_line
from segloop.trainings.pace import Pace, note_pace
from segloop.versions import packed_pictures

NICENESS = 5
"""The window goes before the training where both want the processor."""


def main() -> None:
    """Train what the folder says; how it ended is the last line of its events."""
    folder = TrainingFolder(Path(sys.argv[1]))
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (folder.path / "events.jsonl").open("a", encoding="utf-8") as file:
        try:
            result = _train(folder, file)
            write_model(result.model, folder.result, packed_pictures(result))
            message = {"ended": (Ended.STOPPED if folder.is_asked_to_stop else Ended.DONE).value, **_scores(result)}
        except Exception as error:
            expected = isinstance(error, SegloopError)
            message = {"ended": "failed", "kind": type(error).__name__, "error": str(error), "expected": expected}
            if not expected:
                traceback.print_exc()
        _tell(file, message)
    # all is written; to free what torch holds, piece by piece, takes long on a busy computer
    sys.stderr.flush()
    os._exit(0)


def _train(folder: TrainingFolder, file: TextIO) -> FinetuneResult:
    order = folder.order
    model = load_model(order.base, order.settings.device)
    training_set = TrainingSet(order.training_set)
    events = finetune_events(
        model,
        training_set,
        order.settings,
        lambda: folder.is_asked_to_stop,
        keeper=FileKeeper(folder.checkpoint),
    )
    with closing(events):
        while True:
            try:
                event: Event = next(events)
            except StopIteration as end:
                result: FinetuneResult = end.value
                _note_pace(result, order)
                return result
            print(to_line(event, folder.path), file=file, flush=True)


def _note_pace(result: FinetuneResult, order: Order) -> None:
    if result.folds:
        return  # the short trainings are neither in the steps nor usual
    spec, trained = result.model.spec, result.history[-1].seconds
    pace = Pace(trained / spec.training["steps"], max(0.0, result.seconds - trained))
    note_pace(spec.family, spec.ndim, order.settings, pace)


def _scores(result: FinetuneResult) -> dict[str, object]:
    names = ("before", "after", "metric", "notices", "seconds", "before_error", "after_error", "gain_error", "folds")
    history = [asdict(epoch) for epoch in result.history]
    return {name: getattr(result, name) for name in names} | {"history": history, "own": asdict(result.own)}


def _tell(file: TextIO, message: dict[str, object]) -> None:
    print(json.dumps(message), file=file, flush=True)


def _end_with_parent() -> None:
    """Wait until nobody can write to the standard input any more, then end at once.

    Checkpoints are replaced whole, so that the last one is there whatever is being written.
    """
    # not sys.stdin: a thread that waits in its buffer keeps Python from ending
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
