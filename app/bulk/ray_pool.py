"""The Ray cluster of a backfill: the connection to it, and the size of its pool of engines."""

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import ray
import ray.data
from ray._private.utils import read_ray_address

from app.core.errors import StartupError

_CONNECT_SECONDS = 5
"""Timeout for a connection to a cluster's port. Ray itself would try for minutes."""

_NO_PROGRESS_SECONDS = 6 * 60 * 60
"""A run ends after this time without a finished partition: Ray restarts failing engines endlessly.
A slow machine takes an hour for a large partition, and a full cluster makes a run wait.
"""


@dataclass(frozen=True)
class EnginePool:
    """The number of engines, their kind of device, and the CPUs and GPUs that Ray gives each."""

    engines: int
    device: str
    cpus: float
    gpus: float

    @classmethod
    def of_cluster(cls, device: str) -> "EnginePool":
        """Return a pool with an engine per GPU of the cluster, or per machine if it has no GPU.

        Args:
            device: "auto", "cpu" or "cuda".

        Raises:
            StartupError: the cluster has no such device, or the name is not one of these.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise StartupError(f"With --ray the device is auto, cpu or cuda, not '{device}'.")
        gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
        if gpus and device != "cpu":
            return cls(gpus, "cuda", 0, 1)
        if device == "cuda":
            raise StartupError("The device is 'cuda', but no machine of the cluster has a GPU.")
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        cpus = [node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]]
        if not (cpus := [cpu for cpu in cpus if cpu >= 1]):
            raise StartupError("No machine of the cluster has a CPU for work.")
        return cls(len(cpus), "cpu", min(cpus), 0)


@contextmanager
def ray_connection(address: str) -> Iterator[None]:
    """Connect to a cluster as its driver, and disconnect at the end.

    Args:
        address: HOST:PORT; "local" for a cluster of this machine alone, which ends with the
            connection; or "auto" for the cluster that RAY_ADDRESS names, else the one that
            `ray start` started on this machine, else "local".

    Raises:
        StartupError: there is no cluster at the address, or it cannot be joined.
    """
    # Ray sends usage statistics by default, and warns of what is set here on purpose.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # `read_ray_address` is private, but nothing public returns what `ray start` recorded.
    where = cluster_address(address, os.environ.get("RAY_ADDRESS"), read_ray_address())
    if where.startswith("ray://"):
        raise StartupError(
            "Ray Data cannot be driven over ray://; run the command on a machine of the cluster, "
            "as `ray job submit -- doppelkopf predict --ray auto ...` does."
        )
    _check_reachable(where)
    try:
        # A cluster that is started here ends with the command, and needs no dashboard.
        with _stderr_discarded():
            ray.init(
                where,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                include_dashboard=False if where == "local" else None,
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).split(". ")[0].rstrip(".")
        raise StartupError(f"The Ray cluster at '{where}' cannot be joined: {reason}.") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = _NO_PROGRESS_SECONDS
    # Ray prints a line for each process of the cluster that ends; stdout is for results.
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        try:
            yield
        finally:
            ray.shutdown()


def cluster_address(address: str, named: str | None, recorded: str | None) -> str:
    """Return the address that Ray connects to: HOST:PORT, "local", or "auto" for `recorded`.

    Args:
        address: the option; only "auto" depends on the others.
        named: the variable RAY_ADDRESS.
        recorded: HOST:PORT of the cluster that `ray start` last started on this machine.
    """
    if address != "auto":
        return address
    if named and named != "auto":
        return named
    try:
        # A killed cluster leaves its record, and Ray would try to reach it for minutes.
        _check_reachable(recorded or "")
    except StartupError:
        return "local"
    return "auto" if recorded else "local"


@contextmanager
def _stderr_discarded() -> Iterator[None]:
    """Discard what compiled code, which `redirect_stderr` does not reach, writes to stderr."""
    original = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


def _check_reachable(address: str) -> None:
    """Raise StartupError if the address is HOST:PORT and nothing listens there."""
    if not (found := re.fullmatch(r"\[?([^/]+?)\]?:(\d+)", address)):
        return
    try:
        socket.create_connection((found[1], int(found[2])), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StartupError(f"There is no Ray cluster at '{address}': {error}.") from error
