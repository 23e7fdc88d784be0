"""The batches of a training run, drawn in its own process or ahead of it in others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import DataLoader, Dataset

from segloop.models.protocol import Example

Draw = Callable[[np.random.Generator], Example]


@dataclass(frozen=True)
class Batches(Dataset[list[Example]]):
    """Batch after batch; a batch depends on the seed and its number only, not on what was drawn before or where.

    Parameters
    ----------
    draw : callable
        Returns one example, given a random generator.
    prepare : callable
        Of the model: see ``segloop.models.protocol.Trainable``.
    size : int
        Examples in a batch.
    count : int
        Number of batches.
    seed : int
    """

    draw: Draw
    prepare: Callable[[Example], Example]
    size: int
    count: int
    seed: int

    def __getitem__(self, number: int) -> list[Example]:
        """Draw batch ``number``."""
        generators = (np.random.default_rng([self.seed, number, place]) for place in range(self.size))
        return [self.prepare(self.draw(rng)) for rng in generators]

    def __len__(self) -> int:
        return self.count

    def start(self, first: int, workers: int) -> Generator[list[Example], None, None]:
        """Yield the batches from number ``first`` on; ``workers`` processes draw them, or this one if that is 0."""
        if not workers:
            yield from (self[number] for number in range(first, self.count))
            return
        # forked, so that images in memory are not copied; drawing uses no more of torch than its CPU part
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, self.count),
            num_workers=workers,
            collate_fn=_unchanged,
            multiprocessing_context="fork",
        )
        yield from loader


def _unchanged(batch: Sequence[Example]) -> Sequence[Example]:
    return batch


class Ahead:
    """Takes one batch after another; the next one may be drawn before it is taken.

    Parameters
    ----------
    batches : iterator
    """

    def __init__(self, batches: Iterator[list[Example]]) -> None:
        self._batches = batches
        self._drawn: list[Example] | None = None

    def draw(self) -> None:
        """Draw the next batch, if there is one."""
        if self._drawn is None:
            self._drawn = next(self._batches, None)

    def take(self) -> list[Example]:
        """Return the next batch."""
        self.draw()
        assert self._drawn is not None, "there are as many batches as steps"
        batch, self._drawn = self._drawn, None
        return batch
