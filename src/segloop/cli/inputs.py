"""Which files a command works on: images of folders, and images paired with labels by stem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segloop.errors import FileError
from segloop.io import IMAGE_SUFFIXES, LABEL_SUFFIXES, files_by_stem, is_zarr, stem_of, suffix_of

LABELS_ENDING = "_labels"
REVIEWED_ENDING = "_reviewed"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its labels; ``reviewed`` is the mask of what is vouched for, None for all of it."""

    stem: str
    image: Path
    labels: Path
    reviewed: Path | None


def expand_images(given: Sequence[Path]) -> list[Path]:
    """Replace folders by the images in them.

    Raises
    ------
    FileError
        If a folder has no images, or two images would give the same output name.
    """
    images: list[Path] = []
    for path in given:
        if path.is_dir() and not is_zarr(path):
            found = _images_in(path)
            if not found:
                raise FileError(f"no images in {path}; expected files such as {', '.join(IMAGE_SUFFIXES[:5])}")
            images += found
        else:
            images.append(path)
    images = list(dict.fromkeys(images))
    by_stem: dict[str, Path] = {}
    for path in images:
        other = by_stem.setdefault(stem_of(path), path)
        if other is not path:
            raise FileError(
                f"{other} and {path} would both be written as {stem_of(path)}; rename one or use two outputs"
            )
    return images


def pair_files(images: Path, labels: Path, reviewed: Path | None) -> tuple[list[Pair], list[str]]:
    """Pair images with label files, and masks if there is a folder of them, by stem; or one image with its files.

    Labels may be called like the image or with ``_labels`` behind it, masks with ``_reviewed``. Single files pair
    whatever they are called.

    Returns
    -------
    pairs : list of Pair
        By stem.
    left_out : list of str
        Stems of images without labels.

    Raises
    ------
    FileError
        If a folder is missing, nothing pairs, labels or masks have no image, a stem occurs twice, or files and folders
        are mixed.
    """
    gone = [path for path in (images, labels, reviewed) if path is not None and not path.exists()]
    if gone:
        raise FileError(f"no such {'file' if gone[0].suffix else 'folder'}: {gone[0]}")
    given = [("--images", images), ("--labels", labels), *([("--reviewed", reviewed)] if reviewed else [])]
    files = [option for option, path in given if path.is_file() or is_zarr(path)]
    if len(files) == len(given):
        return [Pair(stem_of(images), images, labels, reviewed)], []
    if files:
        folders = [option for option, _ in given if option not in files]
        raise FileError(
            f"{' and '.join(files)} {'is a file' if len(files) == 1 else 'are files'}, but {' and '.join(folders)} "
            f"{'is a folder' if len(folders) == 1 else 'are folders'}; expected files only, or folders only"
        )
    image_files = _by_stem(images, IMAGE_SUFFIXES, "", unlike=(LABELS_ENDING, REVIEWED_ENDING))
    label_files = _by_stem(labels, LABEL_SUFFIXES, LABELS_ENDING, only_ending=labels.resolve() == images.resolve())
    if not image_files:
        raise FileError(f"no images in {images}; expected files such as {', '.join(IMAGE_SUFFIXES[:5])}")
    stems = sorted(image_files.keys() & label_files.keys())
    if not stems and labels.resolve() == images.resolve():
        raise FileError(
            f"no labels in {images}: beside their images, in one folder, labels are called {LABELS_ENDING} after them, "
            f"such as {next(iter(image_files))}{LABELS_ENDING}.tif; the other files are taken for images"
        )
    if not stems:
        raise FileError(
            f"no image in {images} ({listed(image_files)}) pairs with labels in {labels} ({listed(label_files)}); "
            "give both the same name, such as cells.tif"
        )
    if lonely := sorted(label_files.keys() - image_files.keys()):
        raise FileError(f"no image in {images} for the labels {listed(lonely)}; add the images or remove the labels")
    masks: dict[str, Path] = {}
    if reviewed is not None:
        among_others = reviewed.resolve() in (images.resolve(), labels.resolve())
        masks = _by_stem(reviewed, LABEL_SUFFIXES, REVIEWED_ENDING, only_ending=among_others)
        if lonely := sorted(masks.keys() - image_files.keys()):
            raise FileError(f"no image in {images} for the masks {listed(lonely)} in {reviewed}")
        if missing := sorted(set(stems) - masks.keys()):
            raise FileError(f"no mask in {reviewed} for {listed(missing)}; add it, or leave --reviewed out")
    pairs = [Pair(stem, image_files[stem], label_files[stem], masks.get(stem)) for stem in stems]
    return pairs, sorted(image_files.keys() - label_files.keys())


def listed(names: Sequence[str] | dict[str, Path]) -> str:
    """Name the first few."""
    shown = ", ".join(list(names)[:_SHOWN]) or "nothing"
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _images_in(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if suffix_of(path) in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        # Results of an earlier run are no images.
        and not stem_of(path).endswith((LABELS_ENDING, REVIEWED_ENDING))
    ]


def _by_stem(
    folder: Path, suffixes: Sequence[str], ending: str, unlike: tuple[str, ...] = (), only_ending: bool = False
) -> dict[str, Path]:
    """The files of a folder by stem, ``ending`` taken off it; ``only_ending`` leaves out all without it."""

    def stem(path: Path) -> str | None:
        name = stem_of(path)
        left_out = name.endswith(unlike) if unlike else only_ending and not name.endswith(ending)
        return None if left_out else name.removesuffix(ending)

    files = files_by_stem(folder, suffixes, stem)
    for name, (first, *others) in files.items():
        if others:
            raise FileError(f"{folder} has two files for {name!r}: {first.name} and {others[0].name}; move one away")
    return {name: paths[0] for name, paths in files.items()}
