"""Kill a program that saves to a training set, before each of its steps, and check what is left.

Run as ``python killed_writer.py FOLDER add|replace|remove``; prints the number of steps. Every step is taken by a
forked child that ends at once, as after ``kill -9``: nothing is cleaned up and no ``finally`` runs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from segloop.corrections import TrainingSet
from segloop.image import Image

OLD, NEW = 1, 2


def image(value: int) -> Image:
    return Image(np.full((3, 20, 30), value, np.uint16), "ZYX", 0.5)


def content(training_set: TrainingSet) -> dict[str, int]:
    """Read everything; each entry must be of one piece."""
    values = {}
    for entry in training_set.entries:
        pixels, labels, reviewed = training_set.read(entry)
        found = {*np.unique(pixels.data).tolist(), *np.unique(labels).tolist()}
        assert len(found) == 1 and reviewed.all(), f"entry {entry.id} is a mixture: {found}"
        values[entry.key] = found.pop()
    return values


def change(training_set: TrainingSet, action: str) -> None:
    if action == "remove":
        training_set.remove("0001")
    else:
        new = image(NEW)
        training_set.add(new, np.full(new.shape, NEW), key="a" if action == "replace" else "c")


def die_at(step: int) -> None:
    """End the process at the n-th thing that it does to the disk, before it is done."""
    done = 0

    def counted(function: Callable, before: Callable = lambda *args: None) -> Callable:
        def wrapper(*args: object, **kwargs: object) -> object:
            nonlocal done
            if done == step:
                before(*args)
                os._exit(9)
            done += 1
            return function(*args, **kwargs)

        return wrapper

    os.replace, os.fsync, os.unlink = counted(os.replace), counted(os.fsync), counted(os.unlink)
    tifffile.imwrite = counted(tifffile.imwrite, lambda file, *rest: os.write(file.fileno(), b"II*\0half a file"))


def main(folder: Path, action: str) -> int:
    start = folder / "start"
    training_set = TrainingSet(start)
    for key in "ab":
        training_set.add(image(OLD), np.full((3, 20, 30), OLD), key=key)
    before = {"a": OLD, "b": OLD}
    after = {"add": before | {"c": NEW}, "replace": before | {"a": NEW}, "remove": {"b": OLD}}[action]
    outcomes, step = [], 0
    while True:
        work = folder / f"step-{step}"
        shutil.copytree(start, work)
        child = os.fork()
        if child == 0:
            die_at(step)
            change(TrainingSet(work), action)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        survivor = TrainingSet(work)
        found = content(survivor)
        assert found in (before, after), f"step {step}: {found}"
        assert survivor.verify() == (), f"step {step}: {survivor.verify()}"
        outcomes.append(found == after)
        # the next save works, and takes away what was left over
        survivor.add(image(NEW), np.full((3, 20, 30), NEW), key="d")
        assert content(survivor) == found | {"d": NEW}
        files = {path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()}
        live = {file for entry in survivor.entries for file in entry.files}
        assert files - {".training_set.lock"} == live | {"training_set.json"}, f"step {step}: {sorted(files)}"
        if code == 0:
            assert outcomes[-1]
            break
        assert code == 9
        step += 1
    # once the new state is there it stays
    assert outcomes == sorted(outcomes) and not outcomes[0]
    return step


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
