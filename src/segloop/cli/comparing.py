"""``segloop evaluate``."""

from __future__ import annotations

from pathlib import Path

from segloop.cli.labels_are import LabelsAre
from segloop.cli.printing import print_json, print_line
from segloop.evaluation import evaluate_folders
from segloop.labels import Task
from segloop.settings import AUTO, Auto


def evaluate_files(reference: Path, prediction: Path, labels_are: str, classes: str, as_json: bool) -> None:
    """Compare two folders and print the report.

    Raises
    ------
    FileError, LabelsError, SettingsError
    """
    tasks: dict[LabelsAre, Task | Auto] = {
        LabelsAre.AUTO: AUTO,
        LabelsAre.INSTANCES: Task.INSTANCE,
        LabelsAre.CLASSES: Task.SEMANTIC,
    }
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    report = evaluate_folders(reference, prediction, classes=names, task=tasks[LabelsAre.named(labels_are)])
    if as_json:
        print_json(report.to_json())
    else:
        print_line(report.summary())
