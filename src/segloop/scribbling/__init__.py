"""Scribbles: a few painted pixels of each class, and at once a prediction of what is on screen.

A network that never saw such images still sees edges, blobs and textures. What it sees at each pixel is computed once
for a part of an image and kept; a small head, trained anew after each stroke in a fraction of a second, turns it into
the classes painted. The same idea as ilastik's pixel classification (Berg et al. 2019, Nature Methods 16:1226), with a
network's own maps beside filters of the intensities.
"""

from segloop.scribbling.head import Head, fit_head
from segloop.scribbling.live import LivePrediction, Refreshed, View
from segloop.scribbling.points import Points
from segloop.scribbling.shelf import Shelf

__all__ = ["Head", "LivePrediction", "Points", "Refreshed", "Shelf", "View", "fit_head"]
