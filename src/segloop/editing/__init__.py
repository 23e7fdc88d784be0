"""Editing label images: what each tool does to the pixels of one object's box, and where each object lies. NumPy only.

Nothing here scans a whole label image but ``ObjectIndex``, once, block by block. The tools take the block around an
object and say which pixels change; writing them is the caller's.
"""
