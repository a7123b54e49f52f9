"""Run pip-audit and fail on known vulnerabilities, but not when their service cannot be reached.

    python .ci/audit.py pip-audit --requirement requirements/lock.txt --disable-pip

pip-audit itself exits with 1 both for a vulnerability and for a failed connection, and with 0 and
"No known vulnerabilities" if the service knows none of the packages. This script exits with 1 for a
vulnerability and for a list that cannot be read, else with 0, and prints which packages were not
audited.
"""

import json
import subprocess
import sys


def main(pip_audit: list[str]) -> int:
    """Run the pip-audit command, print its findings, and return the exit code."""
    # A dry run makes no requests: a failure comes from the list or the tool, not the service.
    read = subprocess.run(  # noqa: S603  the Makefile's command
        [*pip_audit, "--dry-run", "--progress-spinner=off"], capture_output=True, text=True
    )
    if read.returncode:
        say(f"pip-audit cannot read what is pinned:\n{read.stderr.strip()}")
        return 1
    asked = subprocess.run(  # noqa: S603
        [*pip_audit, "--format=json", "--desc=off", "--progress-spinner=off"],
        capture_output=True,
        text=True,
    )
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        last = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        say(f"NOT AUDITED: the service for vulnerabilities cannot be asked from here ({last})")
        return 0
    return judge(packages)


def judge(packages: list[dict]) -> int:
    """Print every vulnerability and every skipped package; return 1 if there is a vulnerability."""
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    found = [(package, one) for package in packages for one in package.get("vulns", ())]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        names = " ".join([one["id"], *one["aliases"]])
        say(f"VULNERABLE: {package['name']} {package['version']}: {names}; fixed in {fixed}")
    if packages and len(skipped) == len(packages):
        say("NOT AUDITED: the service for vulnerabilities knows none of the packages from here")
        return 0
    if skipped:
        say(f"NOT AUDITED, unknown to the service: {', '.join(skipped)}")
    say(f"{len(packages) - len(skipped)} packages audited, {len(found)} known vulnerabilities")
    return 1 if found else 0


def say(line: str) -> None:
    """Print a line."""
    print(line, flush=True)  # noqa: T201  a command's output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
