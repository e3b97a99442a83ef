"""Compare the installed distribution with the checkout that it was built from: `python contents.py CHECKOUT`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

NOT_FOR_USERS = {"training/NOTES.md", "weights/failures.jpg"}


def main() -> None:
    """End with an error unless exactly the files of the packages are installed, below one name."""
    checkout = Path(sys.argv[1])
    packages = [path.parent.name for path in checkout.glob("*/__init__.py")]
    command = ["git", "-C", str(checkout), "ls-files", *packages]
    tracked = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    wanted = {f"fairmot/{path.removeprefix('fairmot/')}" for path in tracked if path not in NOT_FOR_USERS}
    installed = {
        path.as_posix()
        for path in distribution("fairmot-tensorrt").files or ()
        if path.suffix != ".pyc" and not path.parts[0].endswith(".dist-info")
    }
    scripts = {path for path in installed if path.startswith("..")}
    if {Path(path).stem for path in scripts} != {"fairmot"}:
        sys.exit(f"The scripts are {sorted(scripts)}, not fairmot alone.")
    if installed - scripts != wanted:
        missing, more = sorted(wanted - installed), sorted(installed - scripts - wanted)
        sys.exit(f"The wheel lacks {missing or 'nothing'} and has {more or 'nothing'} besides.")
    import fairmot

    if checkout in Path(fairmot.__file__).parents and ".nox" not in Path(fairmot.__file__).parts:
        sys.exit(f"fairmot was imported from {fairmot.__file__}, which is the checkout.")
    print(f"{len(wanted)} files below the name fairmot, the command fairmot")


if __name__ == "__main__":
    main()
