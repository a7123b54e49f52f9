"""What a cluster gets of the files for it: rendered by `kubectl`, of which no cluster is needed.

It has kustomize inside, from 1.27 on with all that the files use. Without it the tests are skipped;
where REQUIRE_KUBECTL is set, they fail.
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
"""Of Kubernetes: the oldest that has all that is used, and the newest whose schemas are known."""

SWAP_MB = 160
"""What another checkpoint beside the served one takes; see docs/operations.md."""

Document = dict[str, Any]
Render = Callable[..., list[Document]]


def renderer(folder: Path) -> Render:
    """Return what renders an overlay of somebody's own that lies beside the repository.

    It takes the names of an overlay and of components below `deploy/kubernetes`, or the `text` of a
    kustomization and the files that are copied beside that.

    Args:
        folder: where to put both.
    """
    kubectl = shutil.which("kubectl")
    if not kubectl or not _reads_what_is_used(kubectl, folder):
        message = "the cluster files are rendered by kubectl 1.27 or newer, which is not installed"
        (pytest.fail if os.environ.get("REQUIRE_KUBECTL") else pytest.skip)(message)
    shutil.copytree(KUBERNETES, folder / "doppelkopf" / "deploy" / "kubernetes")
    mine = folder / "mine" / "kustomization.yaml"
    mine.parent.mkdir()

    def rendered(
        overlay: str, *components: str, text: str = "", copied: Iterable[Path] = ()
    ) -> list[Document]:
        beside = "../doppelkopf/deploy/kubernetes"
        own = {
            "resources": [f"{beside}/{overlay}"],
            "components": [f"{beside}/{one}" for one in components],
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


def _reads_what_is_used(kubectl: str, folder: Path) -> bool:
    used = {"components": [], "labels": [{"pairs": {"a": "b"}, "includeTemplates": True}]}
    (folder / "kustomization.yaml").write_text(json.dumps(used), encoding="utf-8")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    return "unknown field" not in done.stderr


def mib(quantity: str) -> int:
    """Return a quantity of memory in MiB."""
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def measured(kind: str, place: str) -> Iterator[float]:
    """Yield figures of a kind of machine, by a pattern of where they stand in its results."""
    files = (ROOT / "tests" / "bench" / "results").glob(f"{kind}-*.json")
    trees = [("", json.loads(file.read_text(encoding="utf-8"))) for file in files]
    while trees:
        above, tree = trees.pop()
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if isinstance(value, dict | list):
                trees.append((f"{above}/{key}", value))
            elif re.search(place, f"{above}/{key}") and value is not None:
                yield float(value)


def require_no_more_rights_than_needed(pod: Document) -> None:
    """Assert that a pod's containers run as the image's user and can neither write nor rise."""
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
