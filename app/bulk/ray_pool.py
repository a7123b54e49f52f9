"""The cluster of Ray that a backfill runs on: connecting to it, and sizing its pool of engines."""

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

_SECONDS = 5
"""To wait for a port to open. Ray itself would ask for minutes."""

_PATIENCE = 6 * 60 * 60
"""Seconds without any partition before a run ends: a slow machine takes an hour for a large one,
and a cluster may be full; but Ray starts engines again without end.
"""


@dataclass(frozen=True)
class Pool:
    """How many engines there are, on which kind of device, and what each takes of its machine."""

    engines: int
    device: str
    cpus: float
    gpus: float

    @classmethod
    def of_cluster(cls, device: str) -> "Pool":
        """Make an engine for each GPU of the cluster; where there is none, for each machine.

        Args:
            device: "auto", "cpu" or "cuda".

        Raises:
            StartupError: the device is not there, or cannot be chosen.
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
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster as its driver, and disconnect in the end.

    Args:
        address: HOST:PORT; "local" for a cluster of this machine alone, which ends with the
            connection; or "auto" for the cluster that RAY_ADDRESS names, else the one that
            `ray start` began on this machine, else "local".

    Raises:
        StartupError: there is no cluster at the address, or it cannot be joined.
    """
    # Ray reports its use to its makers unless told not to, and warns of what is meant to be so.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # Private, but the only way to know where Ray looks for the cluster that `ray start` began.
    where = cluster_address(address, os.environ.get("RAY_ADDRESS"), read_ray_address())
    if where.startswith("ray://"):
        raise StartupError(
            "Ray Data cannot be driven over ray://; run the command on a machine of the cluster, "
            "as `ray job submit -- doppelkopf predict --ray auto ...` does."
        )
    _reach(where)
    try:
        # A cluster that is started here needs no dashboard: it ends with the command.
        with _silent():
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
    context.execution_no_progress_timeout_s = _PATIENCE
    # Whatever ends in the cluster is printed to stdout else, where results are.
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
        recorded: HOST:PORT of the cluster that `ray start` began last on this machine.
    """
    if address != "auto":
        return address
    if named and named != "auto":
        return named
    try:
        # The record of a killed cluster stays, and Ray would wait for that one for minutes.
        _reach(recorded or "")
    except StartupError:
        return "local"
    return "auto" if recorded else "local"


@contextmanager
def _silent() -> Iterator[None]:
    """Keep off the terminal what compiled code says of its log level there."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _reach(address: str) -> None:
    if not (found := re.fullmatch(r"\[?([^/]+?)\]?:(\d+)", address)):
        return
    try:
        socket.create_connection((found[1], int(found[2])), _SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StartupError(f"There is no Ray cluster at '{address}': {error}.") from error
