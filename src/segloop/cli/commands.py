"""The commands and their options; the work is in the modules beside, imported when a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from segloop.cli.reports import InterruptedByUser
from segloop.cli.settings_help import SettingsCommand, help_of

SEGMENT = "segloop.segmentation:SegmentSettings"
FINETUNE = "segloop.train.finetune:FinetuneSettings"
DEVICES = "auto|cpu|cuda|mps"


class _Commands(TyperGroup):
    """Lets Ctrl-C through as an exception of its own: typer would end the program without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedByUser from error


app = typer.Typer(
    name="segloop",
    cls=_Commands,
    help="Segment images, fine-tune on corrections, segment again: U-Net and Mask R-CNN.",
    epilog="With --debug anywhere, an error shows its traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LABELS_HELP = "Folder of label images, called like the images or with _labels behind the name; or one file."
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
ImagesFolder = Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder of images, or one.")]
LabelsFolder = Annotated[
    Path,
    typer.Option(
        "--labels",
        metavar="DIR",
        help=LABELS_HELP,
    ),
]
ReviewedFolder = Annotated[
    Path | None,
    typer.Option(
        "--reviewed",
        metavar="DIR",
        help="Folder of masks of where the labels are vouched for, or one; without it they are everywhere.",
    ),
]
NewName = Annotated[
    str, typer.Option("--name", metavar="NEW", help="Name of the new model; a new version if the name is taken.")
]
Epochs = Annotated[int | None, typer.Option(metavar="N", help=help_of(FINETUNE, "epochs"))]
Minutes = Annotated[float | None, typer.Option(metavar="M", help=help_of(FINETUNE, "minutes"))]
TrainDevice = Annotated[str, typer.Option("--device", metavar=DEVICES, help=help_of(FINETUNE, "device"))]
Seed = Annotated[int | None, typer.Option(metavar="N", help=help_of(FINETUNE, "seed"))]
LabelsAre = Annotated[
    str,
    typer.Option(
        metavar="auto|instances|classes",
        help="Whether a number in the labels is one object or a class; auto looks at them and says what it takes.",
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        import segloop

        typer.echo(f"segloop {segloop.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(short_help="List the models.")
def models(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Show the versions of this model.")] = "",
    use: Annotated[
        int | None, typer.Option(metavar="N", help="Put version N of NAME into use: NAME alone then means it.")
    ] = None,
    delete: Annotated[int | None, typer.Option(metavar="N", help="Delete version N of NAME; asks first.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the bundled models and your own, or the versions of one."""
    from segloop.cli.listing import list_all, list_history
    from segloop.errors import SettingsError

    if not name and (use is not None or delete is not None):
        raise SettingsError("--use and --delete need the name of a model: segloop models NAME --use 2")
    if delete is not None:
        from segloop.versions import check_deletable, delete_version

        check_deletable(name, delete)
        if not yes and not sys.stdin.isatty():
            raise SettingsError(f"nobody can be asked whether to delete version {delete} of {name}; say --yes")
        if not yes:
            typer.confirm(f"Delete version {delete} of {name}? This cannot be undone.", abort=True, err=True)
        delete_version(name, delete)
        if use is None and not as_json:
            typer.echo(f"deleted version {delete} of {name}")
            return
    if use is not None:
        from segloop.versions import use_version

        use_version(name, use)
    if name:
        list_history(name, as_json, may_be_gone=delete is not None)
    else:
        list_all(as_json)


@app.command(cls=SettingsCommand, short_help="Segment image files and folders.")
def segment(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    model: Annotated[str, typer.Option(help="Name of a model (see segloop models), or its folder.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results; made if need be.")],
    axes: Annotated[
        str, typer.Option(metavar="YX", help="Axes of the images, of T, C, Z, Y, X and S (RGB); overrules the files.")
    ] = "",
    channel: Annotated[int | None, typer.Option(metavar="N", help=help_of(SEGMENT, "channel"))] = None,
    device: Annotated[str, typer.Option(metavar=DEVICES, help=help_of(SEGMENT, "device"))] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|float32|bfloat16", help=help_of(SEGMENT, "precision"))
    ] = "auto",
    tile: Annotated[str, typer.Option(metavar="auto|N", help=help_of(SEGMENT, "tile"))] = "auto",
    score: Annotated[float | None, typer.Option(metavar="X", help=help_of(SEGMENT, "score"))] = None,
    overlap: Annotated[float | None, typer.Option(metavar="X", help=help_of(SEGMENT, "overlap"))] = None,
    min_area: Annotated[int | None, typer.Option(metavar="N", help=help_of(SEGMENT, "min_area"))] = None,
    object_size: Annotated[str, typer.Option(metavar="auto|X", help=help_of(SEGMENT, "object_size"))] = "auto",
    instances: Annotated[bool, typer.Option("--instances", help=help_of(SEGMENT, "instances"))] = False,
    flips: Annotated[bool, typer.Option("--flips", help=help_of(SEGMENT, "flips"))] = False,
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a dask scheduler, such as tcp://host:8786: its workers compute the tiles of one image, or "
            "one image each.",
        ),
    ] = "",
    format: Annotated[str, typer.Option(metavar="tiff|ome-zarr", help="Format of the labels.")] = "tiff",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
) -> None:
    """Segment images: writes STEM_labels.tif and STEM_objects.csv for each, and how they came to be."""
    from segloop.cli.segmenting import given_settings, segment_files
    from segloop.results import LabelFormat, Order

    settings = given_settings(
        channel=channel,
        device=device,
        precision=precision,
        tile=tile,
        score=score,
        overlap=overlap,
        min_area=min_area,
        object_size=object_size,
        instances=instances,
        flips=flips,
    )
    order = Order(model, output, axes, settings, LabelFormat.named(format))
    if segment_files(images, order, overwrite, scheduler):
        raise typer.Exit(2)


@app.command(cls=SettingsCommand, short_help="Fine-tune a model on corrected labels.")
def finetune(
    name: NewName,
    model: Annotated[
        str, typer.Option(help="Name of the model to start from (see segloop models), or its folder.")
    ] = "",
    like: Annotated[
        str,
        typer.Option(
            metavar="VERSION",
            help="Train again as this version was, such as mine@2: its base model, data, settings; gives its weights.",
        ),
    ] = "",
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Folder of images, or one.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="DIR", help=LABELS_HELP)] = None,
    training_set: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A training set, such as the one that the window keeps, instead of files."),
    ] = None,
    reviewed: ReviewedFolder = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    device: TrainDevice = "auto",
    seed: Seed = None,
    labels_are: LabelsAre = "auto",
    classes: Annotated[
        str,
        typer.Option(
            metavar="a,b,c",
            help="Names of the classes, background first; without it those in classes.txt beside the labels.",
        ),
    ] = "",
    rehearsal: Annotated[float | None, typer.Option(metavar="X", help=help_of(FINETUNE, "rehearsal"))] = None,
    keep_worse: Annotated[
        bool, typer.Option("--keep-worse", help="Save the new model also if it is not better than the old one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on images with labels, and save it if it got better."""
    from segloop.cli.material import Material
    from segloop.cli.training import finetune_model, given_settings, repeat_training
    from segloop.errors import SettingsError

    material = Material(images, labels, reviewed, labels_are, classes, training_set)
    if bool(model) == bool(like):
        raise SettingsError("expected --model, or --like to train as a version was trained; not both")
    if like:
        if any(given is not None for given in (epochs, minutes, seed, rehearsal)) or device != "auto":
            raise SettingsError("--like takes the settings from the version's record; leave out those given")
        if repeat_training(like, material, name, keep_worse, as_json):
            raise typer.Exit(130)
        return
    settings = given_settings(epochs, minutes, device, seed, rehearsal)
    if finetune_model(model, material, settings, name, keep_worse, as_json):
        raise typer.Exit(130)


@app.command(cls=SettingsCommand, short_help="Train a model from scratch.")
def train(
    family: Annotated[str, typer.Option(metavar="unet|maskrcnn", help="Kind of network.")],
    images: ImagesFolder,
    labels: LabelsFolder,
    name: NewName,
    classes: Annotated[
        str,
        typer.Option(
            metavar="a,b,c",
            help="Names of the classes. For a U-Net those of the label values, background first; on labels of "
            "single objects it learns background, inside and border by default. For Mask R-CNN the kinds of objects.",
        ),
    ] = "",
    reviewed: ReviewedFolder = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    device: TrainDevice = "auto",
    seed: Seed = None,
    labels_are: LabelsAre = "auto",
    size: Annotated[str, typer.Option(help="Size of the network; the family's usual one by default.")] = "",
    ndim: Annotated[int, typer.Option(metavar="2|3", help="2 for planes, 3 for volumes.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Train a model from scratch on images with labels."""
    from segloop.cli.material import Material
    from segloop.cli.training import NewModel, given_settings, train_model

    settings = given_settings(epochs, minutes, device, seed)
    material = Material(images, labels, reviewed, labels_are, classes)
    if train_model(NewModel(name, family, size, ndim), material, settings, as_json):
        raise typer.Exit(130)


@app.command(short_help="Compare labels with a reference.")
def evaluate(
    reference: Annotated[Path, typer.Option(metavar="DIR", help="Folder of reference label images, or one.")],
    prediction: Annotated[Path, typer.Option(metavar="DIR", help="Folder of predicted label images, or one.")],
    labels_are: LabelsAre = "auto",
    classes: Annotated[str, typer.Option(metavar="a,b,c", help="Names of the classes, background first.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare labels with a reference: AP, F1, PQ of objects, or Dice and IoU of classes."""
    from segloop.cli.comparing import evaluate_files

    evaluate_files(reference, prediction, labels_are, classes, as_json)


@app.command(short_help="Convert labels into another format.")
def convert(
    labels: Annotated[
        Path,
        typer.Argument(metavar="LABELS", help="A label image, ImageJ ROIs (.zip, .roi), or polygons (.geojson)."),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="What to write, by its suffix: .tif, .zip (ImageJ ROIs), .json (COCO), .geojson (QuPath), "
            ".ome.zarr, .png, .npy, .csv (measurements). Its folder is made if need be.",
        ),
    ],
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="IMAGE",
            help="The image that ROIs or polygons were drawn on; they do not know its size and that of its pixels.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Convert labels into another format."""
    from segloop.cli.converting import convert_file

    convert_file(labels, out, like, overwrite)


@app.command(short_help="Show the whole loop on a bundled image.")
def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results; made if need be.")] = Path(
        "segloop-demo"
    ),
) -> None:
    """Show the whole loop on a bundled image: segment, correct, fine-tune, segment again, export."""
    from segloop.cli.showing import show_demo

    show_demo(output)
