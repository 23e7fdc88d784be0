"""Wheel, wheel built from the sdist, and editable install: complete, and found by napari."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "segloop"

pytestmark = pytest.mark.slow

PROBE = """
import json, site, sys, warnings
warnings.simplefilter("ignore")
for folder in sys.argv[1:]:
    site.addsitedir(folder)
import npe2, segloop
found = [result for result in npe2.PluginManifest.discover() if result.manifest]
# the environment's own install comes after it on the path
result = next(result for result in found if result.manifest.name == "napari-segloop")
manifest, distribution = result.manifest, result.distribution
manifest.validate_imports()
print(json.dumps({
    "package": segloop.__file__,
    "distribution": str(distribution.locate_file("")),
    "manifest": manifest.package_metadata.name,
    "widgets": [widget.display_name for widget in manifest.contributions.widgets],
    "entry_points": [point.name for point in distribution.entry_points],
}))
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def probe(folder: Path) -> dict:
    """What napari finds where ``folder`` is installed; without site (-S), only there."""
    libraries = sysconfig.get_path("purelib")
    answer = run(sys.executable, "-S", "-P", "-c", PROBE, folder, libraries, cwd=folder)
    return json.loads(answer.splitlines()[-1])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def direct_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT)
    return next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path) -> dict:
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel)
    return probe(folder)


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name.removeprefix("segloop/") for name in archive.namelist() if name.startswith("segloop/")}


def files_of_source() -> set[str]:
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(PACKAGE).as_posix() for path in files}


def check(found: dict, folder: Path) -> None:
    assert Path(found["distribution"]).resolve() == folder.resolve()
    assert "SegLoop" in found["widgets"]
    assert {"segloop", "napari-segloop", "unet", "maskrcnn"} <= set(found["entry_points"])


def test_wheels_hold_the_whole_package(built, direct_wheel):
    from_sdist = next(built.glob("*.whl"))
    assert files_of(direct_wheel) == files_of_source()
    assert files_of(from_sdist) == files_of_source()
    with zipfile.ZipFile(from_sdist) as archive:
        assert archive.read("segloop/napari.yaml") == (ROOT / "napari.yaml").read_bytes()


def test_weights_and_samples_ship(direct_wheel):
    files = files_of(direct_wheel)
    for model in ("nuclei-unet", "nuclei-maskrcnn"):
        assert {f"weights/{model}/model.json", f"weights/{model}/weights.safetensors"} <= files
    assert {
        "samples/fluorescence.png",
        "samples/fluorescence_labels.tif",
        "samples/SOURCES.md",
        "napari.yaml",
    } <= files


def test_sdist_holds_what_a_packager_needs(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "napari.yaml",
        "pyproject.toml",
        "tests/conftest.py",
    }
    assert wanted <= names


def test_napari_finds_the_wheel(direct_wheel, tmp_path):
    check(found := install(direct_wheel, tmp_path), tmp_path)
    assert Path(found["package"]).is_relative_to(tmp_path)


def test_napari_finds_the_wheel_of_the_sdist(built, tmp_path):
    check(found := install(next(built.glob("*.whl")), tmp_path), tmp_path)
    assert Path(found["package"]).is_relative_to(tmp_path)


def test_napari_finds_an_editable_install(tmp_path):
    build = "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    wheel = tmp_path / run(sys.executable, "-c", build, tmp_path).splitlines()[-1]
    folder = tmp_path / "site"
    check(found := install(wheel, folder), folder)
    assert Path(found["package"]).parent == PACKAGE


def test_every_import_is_a_declared_dependency():
    """A package that only comes with another dependency may be gone tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = names_of(project["dependencies"])
    for_tests = names_of(project["optional-dependencies"]["test"])
    for_clusters = names_of(project["optional-dependencies"]["cluster"])
    owners = importlib.metadata.packages_distributions()
    missing = {}
    for path in PACKAGE.rglob("*.py"):
        allowed = declared | (for_tests if path.name == "testing.py" else set())
        allowed |= for_clusters if path.parent.name == "cluster" else set()
        for name in imported_packages(path) - sys.stdlib_module_names - {"segloop"}:
            distributions = {normal(owner) for owner in owners.get(name, [name])}
            if not distributions & allowed:
                missing[name] = str(path.relative_to(ROOT))
    assert missing == {}


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def names_of(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[ \[<>=!~;]", requirement)[0]) for requirement in requirements}


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


def test_no_qt_binding_without_asking():
    """A second Qt binding breaks napari installations, so none may come with the package itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = " ".join(project["dependencies"]).lower()
    assert not any(binding in named for binding in ("pyqt5", "pyqt6", "pyside", "napari[", "opencv"))
    assert not any(sign in named for sign in ("<", "=="))
