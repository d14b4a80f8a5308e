"""Goes on in the repository's own Python (.venv, which tools/setup makes) where the one that runs lacks a package."""
import importlib.util
import os
import sys

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), ".venv")


def need(*packages):
    lacking = [package for package in packages if importlib.util.find_spec(package) is None]
    if not lacking:
        return
    python = os.path.join(FOLDER, "bin", "python3")
    if os.path.realpath(sys.prefix) != os.path.realpath(FOLDER) and os.access(python, os.X_OK):
        sys.stdout.flush()
        os.execv(python, [python, *sys.argv])
    sys.exit(f"{os.path.basename(sys.argv[0])}: needs {' and '.join(lacking)}, which tools/setup installs in .venv")
