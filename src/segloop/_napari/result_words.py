"""What the Fine-tune panel says of how a training ended: one line of verdict, and the details behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segloop.train.finetune import FinetuneResult

ALL_RIGHT = 0.9995
"""A held-out score that is shown as 1.000."""

POOR = 0.5
"""A held-out score below which a model misses or misplaces about half of all."""

SHORT = 0.5
"""A training that did a smaller share of its epochs was cut short."""

REHEARSALS = (0.25, 0.5)
"""Shares of rehearsal to be tried, one after the other."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a training ended.

    Parameters
    ----------
    line : str
        The one sentence that counts, with the score before and after.
    role : str
        As labels are coloured: "good", "warning" if the model is poor all the same or was refused, "hint" if no score
        shows it to be better.
    details : tuple of str
        All else, a paragraph each.
    """

    line: str
    role: str
    details: tuple[str, ...]

    @property
    def text(self) -> str:
        """The details, one below the other."""
        return "\n\n".join(self.details)


def taken(result: FinetuneResult, epochs: int, share: float) -> Verdict:
    """Say how good a model is that was taken.

    Parameters
    ----------
    result : FinetuneResult
    epochs : int
        How many epochs were planned.
    share : float in [0, 1]
        Share of what it rehearsed while it was trained.
    """
    forgotten = forgetting(result, share)
    told = " It has forgotten some of the old images: see Details." if forgotten else ""
    if math.isnan(result.after):
        return Verdict(f"Taken, but not scored.{told}", "hint", (scores(result), *filter(None, [forgotten])))
    done, advice = len(result.history), ""
    is_poor = result.after < POOR
    if is_poor and done < SHORT * epochs:
        advice = f"Only {done} of {epochs} epochs were done: give it more time (At most)."
    elif is_poor:
        advice = "More corrected objects help most, then more time (At most)."
    poor, role = (", but still poor", "warning") if is_poor else ("", "good")
    if math.isnan(result.before):
        word, role = f"Taken without a comparison{poor}", role if is_poor else "hint"
        advice = f"The old model has other classes or channels: it cannot be scored with these labels. {advice}".strip()
    elif result.after <= result.before:
        word, role = "Taken, though no better score shows what it learned", "hint"
        advice = "Review a second region."
    else:
        word = f"Better{poor}"
    details = [advice, scores(result), forgotten]
    return Verdict(f"{word}: {_numbers(result)}.{told}", role, tuple(filter(None, details)))


def refused(result: FinetuneResult, base: str) -> Verdict:
    """Say that a model did not get better, so that ``base`` stays in use."""
    within = ", though within its error" if result.within_error else ""
    line = f"Not better{within}: {_numbers(result)}. {base} stays in use."
    return Verdict(line, "warning", (remedy(result), scores(result)))


def insisted(result: FinetuneResult) -> Verdict:
    """Say that a model was taken although it did not get better."""
    return Verdict(f"Taken although it is not better: {_numbers(result)}.", "hint", (scores(result),))


def decided(result: FinetuneResult) -> Verdict:
    """Say how a training ended about which somebody decided before."""
    return Verdict(f"Decided before: {_numbers(result)}.", "hint", (scores(result),))


def scores(result: FinetuneResult) -> str:
    """Say how well the old and the new model did."""
    before, after = _score(result.before, result.before_error), _score(result.after, result.after_error)
    gain = ""
    if math.isfinite(result.gain_error):
        gain = f"; gain {result.after - result.before:+.3f} ± {result.gain_error:.3f}"
    crossed = "; cross-validated: less than the model itself can do" if result.folds else ""
    own = f". {result.own.words[0].upper()}{result.own.words[1:]}" if result.own.words else ""
    return f"Held-out score {before} before, {after} after{gain} ({result.metric}{crossed}){own}."


def forgetting(result: FinetuneResult, share: float) -> str:
    """Say what helps where a model forgot what the bundled one was made for; "" where it did not, beyond doubt.

    Parameters
    ----------
    result : FinetuneResult
    share : float in [0, 1]
        Share of what it rehearsed while it was trained.
    """
    own = result.own
    if not own.after - own.before < -2 * own.gain_error:
        return ""
    more = next((step for step in REHEARSALS if step > share), None)
    told = "It has forgotten some of the old kind of images"
    if more is None:
        though = f"though {share:.0%} of the training was rehearsal"
        return f"{told}, {though}. Keep the old model for them: it is under “…” beside Start from."
    so_far = f" (it was {share:g})" if share else ""
    return (
        f"{told}. If you need both, set Advanced settings ▸ Rehearsal to {more:g}{so_far} and fine-tune again, or go "
        "back to an earlier version: press “…” beside Start from."
    )


def remedy(result: FinetuneResult) -> str:
    """Say what helps where a model did not get better."""
    if result.before >= ALL_RIGHT:
        return (
            "The old model already finds all that was kept out to score it, as where its own labels were reviewed "
            "uncorrected: no score can be higher. Review parts that you had to correct, too."
        )
    more = "More reviewed objects usually help."
    if result.within_error:
        return (
            "The difference lies within its error: the new model, which learned from more, may well be better. Compare "
            f"the pictures, and use it anyway if you like it. {more}"
        )
    return more


def _numbers(result: FinetuneResult) -> str:
    if not math.isfinite(result.after):
        return "not scored"
    if not math.isfinite(result.before):
        return f"held-out score {result.after:.2f}"
    before, after = f"{result.before:.2f}", f"{result.after:.2f}"
    if before == after:
        before, after = f"{result.before:.3f}", f"{result.after:.3f}"
    return f"held-out score {before} → {after}"


def _score(score: float, error: float) -> str:
    if not math.isfinite(score):
        return "not scored"
    return f"{score:.3f}" + (f" ± {error:.3f}" if math.isfinite(error) else "")
