"""The tests on every supported Python, with the newest and with the lowest versions of what the project depends on.

`make test` runs the whole suite in one environment. These sessions repeat what needs no PyTorch: `tests` with the
newest versions that pyproject.toml admits, `lowest` with the lowest.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
LOWEST_PYTHON = PYTHONS[0]
NEEDS_NEWER_NUMPY = "trackeval"  # the judge of the evaluation, than the project does

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["tests", "lowest"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests with the newest versions."""
    _run_tests(session, "highest", _requirements())


@nox.session(python=LOWEST_PYTHON)
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of every direct dependency."""
    _run_tests(session, "lowest-direct", [each for each in _requirements() if not each.startswith(NEEDS_NEWER_NUMPY)])


def _requirements() -> list[str]:
    """Return what the project and its tests depend on."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


def _run_tests(session: nox.Session, resolution: str, requirements: list[str]) -> None:
    """Install, show what was installed, and run the tests of the checkout, which is not built for that."""
    file = Path(session.create_tmp(), "requirements.in")
    file.write_text("\n".join(requirements) + "\n")
    session.install("--upgrade", "--resolution", resolution, "--requirements", str(file))
    session.run("uv", "pip", "freeze", external=True)
    # Not in nox's own folder for temporary files: that lies in the checkout, where no user's files are.
    session.run("python", "-m", "pytest", *session.posargs, env={"TMPDIR": tempfile.gettempdir()})
