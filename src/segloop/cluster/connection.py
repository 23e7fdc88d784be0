"""The way to a scheduler, and what its workers can do."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segloop
from segloop.cluster.tasks import ModelSource, Report, report
from segloop.errors import FileError, SegloopError, SettingsError
from segloop.models.device import Device, Precision
from segloop.results import Order
from segloop.store import list_models, weights_hash

INSTALL = 'a cluster needs the package distributed: pip install "napari-segloop[cluster]"'


LONGEST_CALL = 10.0
"""Seconds in which a scheduler that is there answers; workers may take longer to start."""


class ClusterError(SegloopError, RuntimeError):
    """A cluster cannot be reached, or its workers cannot do what is asked for."""


@dataclass(frozen=True, slots=True)
class Crew:
    """What the workers have in common: where they compute, how precisely, and what is to be known about them.

    ``free`` is the memory that each of them has there at least, in bytes.
    """

    device: str
    free: int
    precision: Precision
    notices: tuple[str, ...]


@contextmanager
def connected(scheduler: Any, timeout: float) -> Iterator[Any]:
    """Connect to a scheduler and wait for a worker.

    Parameters
    ----------
    scheduler : str or distributed.Client
        An address, or a client, which is left open.
    timeout : float
        Seconds to wait for a worker, and for the scheduler, but for that no longer than 10.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ClusterError
    """
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(INSTALL) from error
    if isinstance(scheduler, distributed.Client):
        _wait_for_worker(scheduler, timeout)
        yield scheduler
        return
    try:
        client = distributed.Client(
            str(scheduler), timeout=min(timeout, LONGEST_CALL), set_as_default=False, name="segloop"
        )
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"no dask scheduler answers at {scheduler}; start one with: dask scheduler (it prints its address)"
        ) from error
    except (ValueError, TypeError) as error:
        raise ClusterError(
            f"{str(scheduler)!r} is no address of a dask scheduler ({error}); expected one such as tcp://host:8786"
        ) from error
    try:
        _wait_for_worker(client, timeout)
        yield client
    finally:
        client.close()


def model_source(order: Order) -> ModelSource:
    """Where workers may find the model: under the name given, or in the folder that the name stands for here.

    Raises
    ------
    ModelError
        If there is no such model here.
    """
    name, _, version = order.model.partition("@")
    folders = [order.model, *(str(info.path) for info in list_models() if order.model == info.name)]
    if version:
        folders += [str(info.path.parent / version) for info in list_models() if info.name == name and not info.bundled]
    if Path(order.model).expanduser().is_dir():
        folders.append(str(Path(order.model).expanduser().absolute()))
    return ModelSource(order.model, tuple(dict.fromkeys(folders)), weights_hash(order.model))


def crew(client: Any, model: ModelSource, order: Order) -> Crew:
    """Ask all workers what they have, and agree on where and how precisely to compute.

    Raises
    ------
    ClusterError
        If a worker lacks SegLoop, has another version, or does not see the model or the output folder.
    SettingsError
        If not all workers have the device or the precision.
    """
    probe = order.output.absolute() / f".{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"")
        answers = client.run(report, model, str(probe), on_error="return")
    except OSError as error:
        raise FileError(f"nothing can be written to {order.output}: {error.strerror or error}") from error
    finally:
        probe.unlink(missing_ok=True)
    for address, answer in answers.items():
        if problem := _problem(answer, order):
            raise ClusterError(f"worker {address} {problem}")
    reports = list(answers.values())
    notices = []
    device = _common_device(reports, order.settings.device)
    fast = [device in own.fast for own in reports]
    precision = order.settings.precision
    if precision is Precision.BFLOAT16 and not all(fast):
        raise SettingsError("not all workers have bfloat16 arithmetic; use precision auto or float32")
    if precision is Precision.AUTO:
        precision = Precision.BFLOAT16 if all(fast) else Precision.FLOAT32
        if any(fast) and not all(fast):
            notices.append("float32 is used: not all workers have bfloat16 arithmetic")
    kinds = sorted({f"torch {own.torch} on {own.processor} ({own.threads} threads)" for own in reports})
    if len(kinds) > 1:
        notices.append(f"workers differ in what may change the last digits of scores: {'; '.join(kinds)}")
    free = min(own.free[own.devices.index(device)] for own in reports)
    return Crew(device, free, precision, tuple(notices))


def _wait_for_worker(client: Any, timeout: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        address = client.scheduler.address
        raise ClusterError(
            f"the scheduler at {address} has no workers after {timeout:g} seconds; start some: dask worker {address}"
        ) from error


def _problem(answer: Report | BaseException, order: Order) -> str:
    if isinstance(answer, ImportError) or (isinstance(answer, BaseException) and "segloop" in str(answer)):
        return f"cannot load SegLoop ({answer}); install napari-segloop {segloop.__version__} where it runs"
    if isinstance(answer, BaseException):
        return f"does not answer: {type(answer).__name__}: {answer}"
    if answer.version != segloop.__version__:
        return f"has SegLoop {answer.version}, but here is {segloop.__version__}; install the same version on both"
    if not answer.sees_output:
        return f"does not see the folder {order.output.absolute()}; workers need the same files under the same paths"
    if not answer.has_model:
        return (
            f"does not find the model {order.model!r} with these weights; put it where all see it and give its folder"
        )
    return ""


def _common_device(reports: list[Report], wanted: Device) -> str:
    if wanted is Device.AUTO:
        return next(name for name in ("cuda", "mps", "cpu") if all(name in own.devices for own in reports))
    if not all(wanted.value in own.devices for own in reports):
        raise SettingsError(f"device {wanted.value!r} is not available on all workers; use auto or cpu")
    return wanted.value
