"""Trainings: fine-tuning in a process of its own, with a folder of its own that outlives both processes."""

from segloop.trainings.folder import Ended, Order, TrainingFolder, new_training, open_trainings
from segloop.trainings.follower import FollowedElsewhere, follow
from segloop.trainings.learning import LearningCurve, LearningPoint, learning_curve
from segloop.trainings.pace import Pace, known_pace, note_pace

__all__ = [
    "Ended",
    "FollowedElsewhere",
    "LearningCurve",
    "LearningPoint",
    "Order",
    "Pace",
    "TrainingFolder",
    "follow",
    "known_pace",
    "learning_curve",
    "new_training",
    "note_pace",
    "open_trainings",
]
