"""Errors are one line on stderr and an exit code, never a traceback; checked in real processes."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

COMMANDS = ["models", "segment", "finetune", "train", "evaluate", "convert", "demo"]


def segloop(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segloop", *map(str, arguments)], capture_output=True, text=True, timeout=200, **options
    )


def test_help_lists_every_command_and_imports_no_network():
    code = (
        "import sys\nfrom segloop.cli import main\ncode = main(['--help'])\n"
        "assert code == 0\nassert not {'torch', 'napari', 'pandas', 'skimage'} & set(sys.modules), sys.modules.keys()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert all(f"\n  {command} " in ran.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, run):
    ran = run(command, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: segloop {command}")
    assert "setting of" not in ran.out


def test_help_of_settings_comes_from_their_definition(run):
    text = " ".join(run("segment", "--help").out.split())
    assert "Side of a tile in pixels. Smaller tiles need less memory;" in text
    assert "as memory allows. Auto takes what fits. [64 to 8192]" in text
    text = " ".join(run("finetune", "--help").out.split())
    assert "The same seed, data, device and number of threads give the same model." in text
    assert "[1 to 10000; default 60]" in text and "[at least 0.01; no limit by default]" in text


def test_version(run):
    ran = run("--version")
    assert (ran.code, ran.err) == (0, [])
    assert ran.out.startswith("segloop ")


def test_without_a_command_the_help_is_shown(run):
    ran = run()
    assert ran.code == 2
    assert ran.err[0].startswith("Usage: segloop")


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["bogus"], "error: No such command 'bogus'"),
        (["segment", "a.tif", "--model", "m"], "error: Missing option '--output'"),
        (["convert", "a.tif"], "error: Missing argument 'OUT'"),
        (["models", "--bogus"], "error: No such option: --bogus"),
        (
            ["segment", "a.tif", "--model", "m", "--output", "o", "--score", "high"],
            "error: Invalid value for '--score'",
        ),
    ],
)
def test_wrong_usage_is_one_line(arguments, line, run):
    ran = run(*arguments)
    assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
    assert ran.err[0].startswith(line)


def test_process_ends_with_one_line_and_code_2(tmp_path):
    ran = segloop("segment", tmp_path / "no.tif", "--model", "no-such-model", "--output", tmp_path / "out")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == [f"error: {line}" for line in [ran.stderr.strip().removeprefix("error: ")]]
    assert "unknown model 'no-such-model'" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(tmp_path):
    ran = segloop("convert", tmp_path / "no.tif", tmp_path / "out.png", "--debug")
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr and "FileError: no such file" in ran.stderr


def test_what_nobody_thought_of_is_one_line_too(run, monkeypatch, tmp_path):
    def fail(*arguments: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("segloop.cli.converting.convert_file", fail)
    ran = run("convert", "a.tif", "b.png")
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err
    assert line.startswith("error: internal error: RuntimeError: first line second line; please report it")


@pytest.mark.parametrize(
    "error, code, line",
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (MemoryError(), 2, "error: there is not enough memory"),
        (OSError(28, "No space left on device", "/x/y.tif"), 2, "error: /x/y.tif: No space left on device"),
    ],
)
def test_other_ways_to_end(error, code, line, run, monkeypatch):
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("segloop.cli.converting.convert_file", fail)
    ran = run("convert", "a.tif", "b.png")
    assert ran.code == code
    assert len(ran.err) == 1 and ran.err[0].startswith(line)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_reader_that_has_seen_enough_is_no_error():
    ran = subprocess.run(
        f"{sys.executable} -m segloop models --help | head -n 1", shell=True, capture_output=True, text=True
    )
    assert ran.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_with_130_and_one_line(unet, tmp_path):
    tifffile.imwrite(tmp_path / "large.tif", np.random.default_rng(0).integers(0, 99, (3000, 3000), np.uint8))
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "segloop", "segment", tmp_path / "large.tif", "--model", unet, "--output", out],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a test run started in the background ignores Ctrl-C, and its children would inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not out.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (130, "error: interrupted\n")
    assert list(out.iterdir()) == []
