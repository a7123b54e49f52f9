"""The lock file: every file is pinned by its hash, and known vulnerabilities are looked up."""

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
    """Read a file of requirements/: each package's exact version and its hashes."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", "")
    entries = {}
    for line in filter(None, re.sub(r"^#.*$", "", text, flags=re.MULTILINE).splitlines()):
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes)
        entry = Requirement(requirement)
        assert [one.operator for one in entry.specifier] == ["=="], f"{entry} is no exact version"
        entries[canonicalize_name(entry.name)] = entry, set(hashes)
    return entries


def wanted() -> list[Requirement]:
    """List what the project requires to run, to be tested, to be built and to be checked."""
    lists = [
        PROJECT["build-system"]["requires"],
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return [Requirement(one) for names in lists for one in names]


def test_every_package_of_the_lock_file_has_hashes():
    assert [name for name, (_, hashes) in pinned("lock.txt").items() if not hashes] == []


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_the_lock_file_pins_what_the_project_requires(requirement):
    entry, _ = pinned("lock.txt")[canonicalize_name(requirement.name)]
    (version,) = entry.specifier
    assert requirement.specifier.contains(version.version)


def test_what_is_installed_before_the_lock_file_agrees_with_it():
    """`make lock` writes all three files; pip keeps its hashes, torch its version alone."""
    lock = pinned("lock.txt")
    assert pinned("bootstrap.txt") == {"pip": lock["pip"]}
    assert pinned("torch.txt") == {"torch": (lock["torch"][0], set())}


def test_make_installs_nothing_without_hashes_but_torch():
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


def test_make_alone_lists_every_target():
    done = subprocess.run(
        ["make"], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE).group(1).split()
    described = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(described) == targets
    assert all(sentence.endswith(".") for sentence in described.values())


def direct(*extras: str) -> subprocess.CompletedProcess[str]:
    """Run the script that lists direct dependencies."""
    return subprocess.run(
        [sys.executable, ROOT / "requirements" / "direct.py", *extras],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("extras", [(), ("ray",), ("train", "ray", "dev")])
def test_direct_dependencies_are_the_projects_and_the_named_extras(extras):
    project = PROJECT["project"]
    optional = [project["optional-dependencies"][extra] for extra in extras]
    assert direct(*extras).stdout.splitlines() == sum(optional, project["dependencies"])


def test_an_unknown_extra_ends_with_its_name():
    done = direct("ray", "rya")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pyproject.toml has no extra rya\n"


STAND_IN = """
import sys
if "--dry-run" in sys.argv:
    sys.exit(int(sys.argv[1]))
if sys.argv[3]:
    sys.stderr.write(sys.argv[3])
print(sys.argv[2])
sys.exit(1)
"""
"""pip-audit as a script: what the dry run ends with, what it prints, and its complaint."""


def audited(*, dry_run="0", found=None, complaint=""):
    answer = "" if found is None else json.dumps({"dependencies": found, "fixes": []})
    pip_audit = [sys.executable, "-c", STAND_IN, dry_run, answer, complaint]
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


def test_a_known_vulnerability_fails_and_is_named():
    code, said = audited(found=[CLEAN, VULNERABLE, UNKNOWN])
    assert code == 1
    assert "VULNERABLE: jinja2 3.1.0: PYSEC-1 CVE-1; fixed in 3.1.6" in said
    assert "NOT AUDITED, unknown to the service: gone" in said
    assert "2 packages audited, 1 known vulnerabilities" in said


def test_without_vulnerabilities_it_passes():
    assert audited(found=[CLEAN]) == (0, "1 packages audited, 0 known vulnerabilities\n")


def test_a_service_that_cannot_be_asked_is_said_and_fails_nothing():
    code, said = audited(complaint="Traceback\nConnectionError: no route\n")
    assert code == 0
    assert said.startswith("NOT AUDITED: the service for vulnerabilities cannot be asked")
    assert "no route" in said


def test_a_service_that_knows_nothing_is_never_taken_for_a_clean_bill():
    code, said = audited(found=[UNKNOWN, UNKNOWN])
    assert code == 0
    assert said.startswith("NOT AUDITED: the service for vulnerabilities knows none")
    assert "0 known" not in said


def test_a_list_that_cannot_be_read_fails():
    code, said = audited(dry_run="1")
    assert code == 1
    assert "cannot read what is pinned" in said
