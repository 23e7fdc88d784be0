"""The napari plugin; the only part of SegLoop that knows napari and Qt.

Read ``plugin`` first, then ``dock`` (what is seen), ``steps`` (what happens on a click) and ``jobs`` (how
work runs beside the window). ``session`` holds the state, ``layers`` is the border between napari layers and
SegLoop's images.
"""
