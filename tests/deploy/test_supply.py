"""The lock file with its hashes, installing from it, and the audit for vulnerabilities."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.repository import ROOT
from tests.support.server_process import clean_environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pinned(name: str) -> dict[str, tuple[Requirement, set[str]]]:
    """Read a file of requirements/: each package's exact version and hashes."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", "")
    entries = {}
    for line in filter(None, re.sub(r"^#.*$", "", text, flags=re.MULTILINE).splitlines()):
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes)
        entry = Requirement(requirement)
        assert [one.operator for one in entry.specifier] == ["=="], (
            f"{entry} is not pinned to an exact version"
        )
        entries[canonicalize_name(entry.name)] = entry, set(hashes)
    return entries


def declared_requirements() -> list[Requirement]:
    """Return the project's requirements: to run, to build, of all extras and all groups."""
    lists = [
        PROJECT["build-system"]["requires"],
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return [Requirement(one) for names in lists for one in names]


def test_every_locked_package_has_hashes():
    assert [name for name, (_, hashes) in pinned("lock.txt").items() if not hashes] == []


@pytest.mark.parametrize("requirement", declared_requirements(), ids=str)
def test_lock_file_pins_every_requirement(requirement):
    entry, _ = pinned("lock.txt")[canonicalize_name(requirement.name)]
    (version,) = entry.specifier
    assert requirement.specifier.contains(version.version)


def test_bootstrap_and_torch_files_agree_with_the_lock_file():
    """`make lock` writes all three files; pip has hashes, torch only its version."""
    lock = pinned("lock.txt")
    assert pinned("bootstrap.txt") == {"pip": lock["pip"]}
    assert pinned("torch.txt") == {"torch": (lock["torch"][0], set())}


def test_make_installs_only_torch_without_hashes():
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/.installed"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"pip install --quiet (.*)", done.stdout) == [
        "--require-hashes --requirement requirements/bootstrap.txt",
        "--no-deps --requirement requirements/torch.txt",
        "--constraint requirements/lock.txt --requirement .venv/direct.txt",
        "--no-deps --build-constraint requirements/lock.txt --editable .",
    ]


def test_make_without_target_lists_every_target():
    done = subprocess.run(
        ["make"], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE).group(1).split()
    described = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(described) == targets
    assert all(sentence.endswith(".") for sentence in described.values())


def direct(*extras: str) -> subprocess.CompletedProcess[str]:
    """Run the script that lists the direct dependencies with some extras."""
    return subprocess.run(
        [sys.executable, ROOT / "requirements" / "direct.py", *extras],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("extras", [(), ("ray",), ("train", "ray", "dev")])
def test_direct_dependencies_include_the_named_extras(extras):
    project = PROJECT["project"]
    optional = [project["optional-dependencies"][extra] for extra in extras]
    assert direct(*extras).stdout.splitlines() == sum(optional, project["dependencies"])


def test_unknown_extra_ends_with_its_name():
    done = direct("ray", "rya")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pyproject.toml has no extra rya\n"


FAKE_PIP_AUDIT = """
import sys
if "--dry-run" in sys.argv:
    sys.exit(int(sys.argv[1]))
if sys.argv[3]:
    sys.stderr.write(sys.argv[3])
print(sys.argv[2])
sys.exit(1)
"""
"""Replaces pip-audit; arguments: the dry run's exit code, the output, the text on stderr."""


def run_audit(*, dry_run="0", found=None, error_output=""):
    answer = "" if found is None else json.dumps({"dependencies": found, "fixes": []})
    pip_audit = [sys.executable, "-c", FAKE_PIP_AUDIT, dry_run, answer, error_output]
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py", *pip_audit],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert not done.stderr
    return done.returncode, done.stdout


CLEAN = {"name": "idna", "version": "3.20", "vulns": []}
UNKNOWN = {"name": "gone", "skip_reason": "Dependency not found"}
VULNERABLE = {
    "name": "jinja2",
    "version": "3.1.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.1.6"]}],
}


def test_known_vulnerability_fails_and_is_named():
    code, output = run_audit(found=[CLEAN, VULNERABLE, UNKNOWN])
    assert code == 1
    assert "VULNERABLE: jinja2 3.1.0: PYSEC-1 CVE-1; fixed in 3.1.6" in output
    assert "NOT AUDITED, unknown to the service: gone" in output
    assert "2 packages audited, 1 known vulnerabilities" in output


def test_audit_without_vulnerabilities_passes():
    assert run_audit(found=[CLEAN]) == (0, "1 packages audited, 0 known vulnerabilities\n")


def test_unreachable_service_is_reported_without_failing():
    code, output = run_audit(error_output="Traceback\nConnectionError: no route\n")
    assert code == 0
    assert output.startswith("NOT AUDITED: the service for vulnerabilities cannot be asked")
    assert "no route" in output


def test_service_that_knows_no_package_is_reported():
    code, output = run_audit(found=[UNKNOWN, UNKNOWN])
    assert code == 0
    assert output.startswith("NOT AUDITED: the service for vulnerabilities knows none")
    assert "0 known" not in output


def test_unreadable_lock_file_fails():
    code, output = run_audit(dry_run="1")
    assert code == 1
    assert "cannot read what is pinned" in output
