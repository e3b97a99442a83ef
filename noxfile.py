"""The tests on every supported Python, with the newest and with the lowest versions of what the project depends on.

`make test` runs the whole suite in one environment. These sessions repeat what needs no PyTorch: `nox -s tests` with
the newest versions that pyproject.toml admits, `nox -s lowest` with the lowest.
"""

from __future__ import annotations

from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
LOWEST_PYTHON = PYTHONS[0]
# Not TrackEval, the judge of the evaluation: it needs a newer NumPy than the project does.
TEST_TOOLS = ("pytest", "hypothesis")

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["tests", "lowest"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests with the newest versions."""
    session.install("--upgrade", "--resolution", "highest", ".[test]")
    _run_tests(session)


@nox.session(python=LOWEST_PYTHON)
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of every direct dependency."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    wanted = [
        *project["dependencies"],
        *(each for each in project["optional-dependencies"]["test"] if each.startswith(TEST_TOOLS)),
    ]
    requirements = Path(session.create_tmp(), "lowest.in")
    requirements.write_text("\n".join(wanted) + "\n")
    session.install("--resolution", "lowest-direct", "--requirements", str(requirements))
    _run_tests(session)


def _run_tests(session: nox.Session) -> None:
    """Show what is installed, then run the tests, from the checkout."""
    session.run("uv", "pip", "freeze", external=True)
    session.run("python", "-m", "pytest", *session.posargs)
