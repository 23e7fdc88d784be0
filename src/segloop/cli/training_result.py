"""What came out of a training: saved if it is to be kept, and printed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from segloop.cli.listing import with_error
from segloop.cli.printing import counted, print_json, print_line
from segloop.cli.reports import note
from segloop.corrections import TrainingSet
from segloop.labels import Task
from segloop.train.finetune import FinetuneResult
from segloop.versions import save_result

USELESS = 0.05
"""A model with a lower held-out score is of no use yet."""


def finish(
    result: FinetuneResult,
    training_set: TrainingSet,
    name: str,
    keep: bool,
    as_json: bool,
    repeated: dict[str, Any] | None = None,
) -> None:
    """Save the model if it is to be kept, and print what came out; ``repeated`` is what is told of a repetition."""
    folder = save_result(result, name) if keep else None
    notices = list(result.notices)
    if keep and result.after < USELESS:
        found = "the new model finds next to nothing in the regions kept out of training"
        if result.folds:
            found = "what learned from one half of the region finds next to nothing in the other half"
        notices.append(
            f"{found} (score {result.after:.3f}); train it for longer (--epochs, --minutes), or on more labels"
        )
        note(notices[-1])
    if as_json:
        print_json(
            {
                "name": name,
                "saved": keep,
                "version": result.model.spec.version if keep else None,
                "path": str(folder) if folder else None,
                "metric": result.metric,
                "before": result.before,
                "after": result.after,
                "before_error": result.before_error,
                "after_error": result.after_error,
                "gain_error": result.gain_error,
                "improved": result.improved,
                "folds": result.folds,
                "own_domain": {**asdict(result.own), "words": result.own.words} if result.own.origin else None,
                "images": len(training_set),
                "labels": "instances" if training_set.task is Task.INSTANCE else "classes",
                "classes": list(result.model.spec.classes),
                "history": [asdict(epoch) for epoch in result.history],
                "notices": notices,
                "seconds": result.seconds,
                **(repeated or {}),
            }
        )
        return
    print_line(
        f"{counted(len(result.history), 'epoch')} on {counted(len(training_set), 'image')} in {result.seconds:.0f} s"
    )
    how = "cross-validated on halves of the one region" if result.folds else "held out"
    print_line(f"{result.metric}, {how}: {_before_and_after(result)}")
    if result.own.words:
        print_line(result.own.words)
    if not keep:
        print_line("the new model is not better and was not saved; --keep-worse saves it, more labels may help")
        if result.within_error:
            print_line("the difference lies within its error: it may well be better all the same")
        return
    if not result.improved:
        print_line("the new model is not better than the old one")
    elif result.folds and result.after <= result.before:
        print_line("no better score shows what it learned, and none that it is worse; label a second region")
    print_line(f"saved as {name}, version {result.model.spec.version}: segloop segment ... --model {name}")


def _before_and_after(result: FinetuneResult) -> str:
    before, after = with_error(result.before, result.before_error), with_error(result.after, result.after_error)
    return f"before {before or 'unknown'}, after {after or 'unknown'}"
