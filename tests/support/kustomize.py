"""Kubernetes manifests as a cluster gets them, rendered by `kubectl kustomize`.

No cluster is needed, but kubectl 1.27 or newer, whose kustomize knows all fields in use. Without it
tests are skipped, or fail if REQUIRE_KUBECTL is set.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.repository import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
README = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8").split("\n## Kubernetes\n")[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
RELEASES = ("1.30", kubernetes_validate.latest_version())
"""The oldest Kubernetes release with all fields in use, and the newest with a known schema."""

SWAP_MB = 160
"""MiB that loading a second checkpoint takes during a swap; see docs/operations.md."""

Document = dict[str, Any]
Render = Callable[..., list[Document]]


def renderer(folder: Path) -> Render:
    """Return a function that renders a user's own overlay next to a copy of the repository.

    It takes the names of an overlay and of components below `deploy/kubernetes`, or the `text` of a
    kustomization and files to copy next to it.

    Args:
        folder: where to put the copy and the overlay.
    """
    kubectl = shutil.which("kubectl")
    if not kubectl or not _knows_all_fields(kubectl, folder):
        message = "the cluster files are rendered by kubectl 1.27 or newer, which is not installed"
        (pytest.fail if os.environ.get("REQUIRE_KUBECTL") else pytest.skip)(message)
    shutil.copytree(KUBERNETES, folder / "doppelkopf" / "deploy" / "kubernetes")
    mine = folder / "mine" / "kustomization.yaml"
    mine.parent.mkdir()

    def rendered(
        overlay: str, *components: str, text: str = "", copied: Iterable[Path] = ()
    ) -> list[Document]:
        manifests = "../doppelkopf/deploy/kubernetes"
        own = {
            "resources": [f"{manifests}/{overlay}"],
            "components": [f"{manifests}/{one}" for one in components],
        }
        mine.write_text(text or json.dumps(own), encoding="utf-8")
        for one in copied:
            shutil.copy(one, mine.parent)
        done = subprocess.run(
            [kubectl, "kustomize", mine.parent], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return rendered


def _knows_all_fields(kubectl: str, folder: Path) -> bool:
    used = {"components": [], "labels": [{"pairs": {"a": "b"}, "includeTemplates": True}]}
    (folder / "kustomization.yaml").write_text(json.dumps(used), encoding="utf-8")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    return "unknown field" not in done.stderr


def mib(quantity: str) -> int:
    """Return a Kubernetes quantity of memory in MiB."""
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def recorded_figures(kind: str, path: str) -> Iterator[float]:
    """Yield the figures of the recorded results of a kind of machine.

    Args:
        kind: how the names of the files begin, such as `cpu`.
        path: a pattern of the figures' paths in the JSON, such as `/rss_mb$`.
    """
    files = (ROOT / "tests" / "measurements" / "results").glob(f"{kind}-*.json")
    trees = [("", json.loads(file.read_text(encoding="utf-8"))) for file in files]
    while trees:
        above, tree = trees.pop()
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if isinstance(value, dict | list):
                trees.append((f"{above}/{key}", value))
            elif re.search(path, f"{above}/{key}") and value is not None:
                yield float(value)


def assert_least_privilege(pod: Document) -> None:
    """Check that containers run as the image's user, read-only and without any capability."""
    user, group = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, flags=re.MULTILINE).groups()
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
