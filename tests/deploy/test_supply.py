"""What is installed: every file pinned by its hash, known vulnerabilities asked for."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.server_process import clean_environment

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pinned() -> dict[str, Requirement]:
    """Read constraints.txt; every entry has to be an exact version with hashes."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8").replace("\\\n", "")
    entries = {}
    for line in filter(None, re.sub(r"^#.*$", "", text, flags=re.MULTILINE).splitlines()):
        requirement, *hashes = line.split(" --hash=sha256:")
        assert hashes, f"{requirement} has no hash; run make lock"
        assert all(re.fullmatch(r"[0-9a-f]{64}\s*", one) for one in hashes)
        entry = Requirement(requirement)
        assert [one.operator for one in entry.specifier] == ["=="], f"{entry} is no exact version"
        entries[canonicalize_name(entry.name)] = entry
    return entries


def wanted() -> list[Requirement]:
    """List what the project asks for to run, to be tested, to be built and to be checked."""
    lists = [
        PROJECT["build-system"]["requires"],
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return [Requirement(one) for names in lists for one in names]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_all_that_the_project_asks_for_is_pinned_by_hash_as_make_lock_does_it(requirement):
    entry = pinned()[canonicalize_name(requirement.name)]
    (version,) = entry.specifier
    assert requirement.specifier.contains(version.version)


def test_make_installs_nothing_unhashed_but_torchs_own_file():
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/.installed"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    installs = re.findall(r"pip install --quiet (.*)", done.stdout)
    hashed = [one for one in installs if "--require-hashes" in one or "constraint " in one]
    assert len(installs) == 4
    (other,) = set(installs) - set(hashed)
    assert other.startswith("--no-deps $(sed")
    assert "torch==" in other


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
