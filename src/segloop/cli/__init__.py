"""The command line: ``segloop models | segment | finetune | train | evaluate | convert | demo``."""

from segloop.cli.entry import main

__all__ = ["main"]
