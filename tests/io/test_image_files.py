"""Images come with the axes and pixel size that their file says, and damaged files with one clear line."""

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from segloop.errors import FileError, ImageError, LabelsError
from segloop.io import open_image, read_image, read_labels, stem_of, suffix_of
from segloop.io import tiff as tiff_module


def noise(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


class TestTiff:
    def test_imagej_hyperstack(self, tmp_path):
        data = noise(2, 3, 2, 20, 30)
        path = tmp_path / "a.tif"
        tifffile.imwrite(
            path, data, imagej=True, resolution=(4.0, 2.0),
            metadata={"axes": "TZCYX", "unit": "\\u00B5m", "spacing": 1.5, "finterval": 10.0},
        )  # fmt: skip
        opened = open_image(path)
        image = opened.image
        assert (image.axes, opened.axes_guessed, image.name) == ("TZCYX", False, "a")
        assert image.unit == "micrometer"
        assert dict(image.pixel_size) == pytest.approx({"T": 10.0, "Z": 1.5, "Y": 0.5, "X": 0.25})
        np.testing.assert_array_equal(image.data, data)

    @pytest.mark.parametrize("unit", [{}, {"unit": "pixel"}])
    def test_distance_of_planes_without_a_unit_is_no_calibration(self, tmp_path, unit):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(3, 20, 30), imagej=True, metadata={"axes": "ZYX", "spacing": 2.0} | unit)
        image = read_image(path)
        assert (image.unit, dict(image.pixel_size)) == ("pixel", {"Z": 2.0, "Y": 1.0, "X": 1.0})

    def test_ome(self, tmp_path):
        path = tmp_path / "cells.ome.tif"
        sizes = {"PhysicalSizeX": 250.0, "PhysicalSizeY": 500.0, "PhysicalSizeZ": 2.0}
        units = {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm", "PhysicalSizeZUnit": "µm"}
        tifffile.imwrite(path, noise(3, 2, 20, 30), metadata={"axes": "ZCYX"} | sizes | units)
        image = read_image(path)
        assert (image.axes, image.name, image.unit) == ("ZCYX", "cells", "nanometer")
        # Z is said in another unit: rather none than a wrong one
        assert dict(image.pixel_size) == pytest.approx({"Z": 1.0, "Y": 500.0, "X": 250.0})

    def test_first_of_many_series(self, tmp_path):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tif:
            tif.write(noise(20, 30))
            tif.write(noise(3, 40, 50), photometric="minisblack")
        assert read_image(path).shape == (20, 30)

    @pytest.mark.parametrize("metadata", [None, {}])
    @pytest.mark.parametrize(
        "shape, axes, guessed",
        [
            ((20, 30), "YX", False),
            ((9, 20, 30), "ZYX", True),
            ((2, 20, 30), "CYX", True),
        ],
    )
    def test_files_that_do_not_say_their_axes(self, metadata, shape, axes, guessed, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(*shape), metadata=metadata, photometric="minisblack")
        opened = open_image(path)
        assert (opened.image.axes, opened.axes_guessed) == (axes, guessed)
        assert opened.image.unit == "pixel"

    def test_given_axes_overrule(self, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(9, 20, 30), photometric="minisblack")
        opened = open_image(path, "tyx")
        assert (opened.image.axes, opened.axes_guessed) == ("TYX", False)
        with pytest.raises(ImageError, match=r"a\.tif: axes 'YX' name 2 dimensions, but the image has 3"):
            read_image(path, "YX")

    @pytest.mark.parametrize(("shape", "axes"), [((5, 3, 64, 80), "ZSYX"), ((2, 5, 3, 64, 80), "TZSYX")])
    def test_planar_colour_stacks_keep_their_colour_axis(self, shape, axes, tmp_path):
        tifffile.imwrite(tmp_path / "planar.tif", np.zeros(shape, np.uint8), photometric="rgb", planarconfig="separate")
        opened = open_image(tmp_path / "planar.tif")
        assert (opened.image.axes, opened.axes_guessed) == (axes, True)

    def test_colour(self, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(20, 30, 3, dtype=np.uint8), photometric="rgb")
        opened = open_image(path)
        assert (opened.image.axes, opened.axes_guessed) == ("YXS", False)

    def test_resolution_in_inches_is_no_pixel_size(self, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(20, 30), resolution=(72, 72), resolutionunit="INCH")
        assert read_image(path).unit == "pixel"
        tifffile.imwrite(path, noise(20, 30), resolution=(20_000, 10_000), resolutionunit="CENTIMETER")
        image = read_image(path)
        assert (image.unit, dict(image.pixel_size)) == ("micrometer", {"Y": 1.0, "X": 0.5})

    @pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (16, 16)}])
    def test_large_files_are_read_in_parts(self, options, tmp_path, monkeypatch):
        monkeypatch.setattr(tiff_module, "LAZY_BYTES", 100)
        data = noise(5, 40, 50)
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": "ZYX"}, **options)
        image = read_image(path)
        assert isinstance(image.data, np.memmap if not options else zarr.Array)
        assert image.axes == "ZYX"
        part = image.take("Z", 3).read((slice(3, 20), slice(10, 40)))
        np.testing.assert_array_equal(part[0], data[3, 3:20, 10:40])

    @pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
    @pytest.mark.parametrize("keep", [3, 4, 100, 5000])
    def test_damaged(self, keep, compression, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(100, 100), compression=compression)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(FileError, match=r"a\.tif is damaged or not what its name says.*expected a TIFF file"):
            read_image(path)

    def test_another_kind_of_file(self, tmp_path):
        path = tmp_path / "a.tif"
        path.write_text("these are my notes")
        with pytest.raises(FileError, match=r"a\.tif is not a TIFF file; give it the suffix of what it is"):
            read_image(path)
        path.write_bytes(b"")
        with pytest.raises(FileError, match=r"a\.tif is empty \(0 bytes\); expected a TIFF file"):
            read_image(path)


class TestRaster:
    @pytest.mark.parametrize(
        "shape, dtype, axes",
        [
            ((20, 30), np.uint8, "YX"),
            ((20, 30), np.uint16, "YX"),
            ((20, 30, 3), np.uint16, "YXS"),
            ((20, 30, 4), np.uint8, "YXS"),
        ],
    )
    def test_png(self, shape, dtype, axes, tmp_path):
        data = noise(*shape, dtype=dtype) * (200 if dtype is np.uint16 else 1)
        path = tmp_path / "a.png"
        path.write_bytes(imagecodecs.png_encode(data))
        opened = open_image(path)
        assert (opened.image.axes, opened.axes_guessed) == (axes, False)
        np.testing.assert_array_equal(opened.image.data, data)

    @pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".bmp"])
    @pytest.mark.parametrize("shape, axes", [((20, 30), "YX"), ((20, 30, 3), "YXS")])
    def test_jpeg_and_bmp(self, suffix, shape, axes, tmp_path):
        path = tmp_path / f"a{suffix}"
        PIL.Image.fromarray(np.full(shape, 90, np.uint8)).save(path)
        image = read_image(path)
        assert image.axes == axes
        assert np.abs(image.data.astype(int) - 90).max() < 5

    def test_grey_with_alpha(self, tmp_path):
        path = tmp_path / "a.png"
        data = noise(20, 30, 2, dtype=np.uint8)
        data[..., 1] = 255
        path.write_bytes(imagecodecs.png_encode(data))
        assert read_image(path).axes == "YX"
        data[0, 0, 1] = 0
        path.write_bytes(imagecodecs.png_encode(data))
        with pytest.raises(FileError, match="transparent"):
            read_image(path)

    def test_palette_is_colour_for_images_and_numbers_for_labels(self, tmp_path):
        indices = np.tile(np.arange(4, dtype=np.uint8), (6, 2))
        picture = PIL.Image.fromarray(indices).convert("P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        picture.save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").axes == "YXS"
        np.testing.assert_array_equal(read_labels(tmp_path / "a.png").data, indices)

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
    def test_damaged(self, suffix, tmp_path):
        path = tmp_path / f"a{suffix}"
        PIL.Image.fromarray(noise(50, 50, dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(FileError, match="damaged"):
            read_image(path)


class TestNumpy:
    def test_array(self, tmp_path):
        np.save(tmp_path / "a.npy", noise(9, 20, 30).astype(">f4"))
        opened = open_image(tmp_path / "a.npy")
        assert (opened.image.axes, opened.axes_guessed) == ("ZYX", True)
        assert isinstance(opened.image.data, np.memmap)

    def test_pickles_are_refused(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([{}, []], object), allow_pickle=True)
        with pytest.raises(FileError, match="expected a NumPy array file"):
            read_image(tmp_path / "a.npy")

    def test_numbers_that_are_no_labels(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[0.5, np.nan]]))
        with pytest.raises(LabelsError, match=r"a\.npy: .*fractional or NaN"):
            read_labels(tmp_path / "a.npy")


class TestZarr:
    @pytest.mark.parametrize("version", [2, 3])
    def test_ome_zarr(self, version, tmp_path):
        data = noise(2, 4, 20, 30)
        group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=version)
        group.create_array("0", data=data, chunks=(1, 1, 10, 10))
        axes = [{"name": "c", "type": "channel"}] + [
            {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"
        ]
        multiscales = [
            {
                "axes": axes,
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": [1, 2.0, 0.5, 0.5]}],
                    }
                ],
                "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 0.5, 0.5]}],
            }
        ]
        group.attrs.update({"multiscales": multiscales} if version == 2 else {"ome": {"multiscales": multiscales}})
        opened = open_image(tmp_path / "a.ome.zarr")
        image = opened.image
        assert (image.axes, opened.axes_guessed, image.name, image.unit) == ("CZYX", False, "a", "micrometer")
        assert dict(image.pixel_size) == {"Z": 2.0, "Y": 0.25, "X": 0.25}
        assert isinstance(image.data, zarr.Array)
        np.testing.assert_array_equal(image.read(), data)

    def test_plain_array(self, tmp_path):
        zarr.save_array(tmp_path / "a.zarr", noise(9, 20, 30))
        opened = open_image(tmp_path / "a.zarr")
        assert (opened.image.axes, opened.axes_guessed) == ("ZYX", True)

    def test_group_without_an_image(self, tmp_path):
        zarr.open_group(tmp_path / "a.zarr", mode="w")
        with pytest.raises(FileError, match="without an OME-Zarr image"):
            read_image(tmp_path / "a.zarr")

    def test_empty_folder(self, tmp_path):
        (tmp_path / "a.zarr").mkdir()
        with pytest.raises(FileError, match=r"a\.zarr does not hold what it should; expected an OME-Zarr image"):
            read_image(tmp_path / "a.zarr")
        with pytest.raises(FileError, match="no such file"):
            read_image(tmp_path / "b.zarr")

    def test_damaged(self, tmp_path):
        (tmp_path / "a.zarr").mkdir()
        (tmp_path / "a.zarr" / "zarr.json").write_text("{")
        with pytest.raises(FileError, match="expected an OME-Zarr image"):
            read_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("read", [read_image, read_labels])
class TestAnyReader:
    def test_missing_file(self, read, tmp_path):
        with pytest.raises(FileError, match="no such file"):
            read(tmp_path / "a.tif")

    def test_unknown_suffix(self, read, tmp_path):
        (tmp_path / "a.docx").write_text("")
        with pytest.raises(FileError, match=r"\.docx; expected one of \.tif"):
            read(tmp_path / "a.docx")

    def test_folder(self, read, tmp_path):
        (tmp_path / "a.tif").mkdir()
        with pytest.raises(FileError, match="is a folder"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "name, stem, suffix",
    [
        ("cells.tif", "cells", ".tif"),
        ("cells.OME.TIF", "cells", ".tif"),
        ("cells.ome.zarr", "cells", ".ome.zarr"),
        ("plate 1.5x.png", "plate 1.5x", ".png"),
        ("field_1.5um", "field_1.5um", ".5um"),
    ],
)
def test_stems(name, stem, suffix, tmp_path):
    assert (stem_of(tmp_path / name), suffix_of(tmp_path / name)) == (stem, suffix)
