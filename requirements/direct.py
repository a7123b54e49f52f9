"""Print the direct dependencies that pyproject.toml names, one a line, as a requirements file.

    python requirements/direct.py [EXTRA ...]

`python requirements/direct.py ray`, for example, prints the dependencies of the package and of its
extra "ray". pip could read them from the project's folder, but it refuses a folder, which has no
hash, where the constraints of lock.txt require hashes. The standard library is enough to run this.
"""

import sys
import tomllib
from pathlib import Path


def direct(extras: list[str]) -> list[str]:
    """Return the package's dependencies, then those of each extra, as they are written.

    Raises:
        SystemExit: there is no such extra.
    """
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    optional = project["optional-dependencies"]
    if unknown := set(extras) - optional.keys():
        raise SystemExit(f"pyproject.toml has no extra {', '.join(sorted(unknown))}")
    return sum((optional[extra] for extra in extras), project["dependencies"])


if __name__ == "__main__":
    print(*direct(sys.argv[1:]), sep="\n")  # noqa: T201  a command's output
