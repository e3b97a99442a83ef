"""The tests on every supported Python, with the newest and with the lowest versions of what the project depends on.

`make test` runs the whole suite in one environment. These sessions repeat what needs no PyTorch: `tests` with the
newest versions that pyproject.toml admits, but for the tests of worker processes; `lowest` with the lowest. `wheel`
installs what users install, and uses it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
LOWEST_PYTHON = PYTHONS[0]
NEEDS_NEWER_NUMPY = "trackeval"  # the judge of the evaluation, than the project does

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["tests", "lowest", "wheel"]

CHECKOUT = Path(__file__).resolve().parent


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests with the newest versions, but for those of worker processes, which take longest."""
    _run_tests(session, "highest", _requirements("test"), "-m", "not gpu and not processes")


@nox.session(python=LOWEST_PYTHON)
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of every direct dependency."""
    _run_tests(
        session, "lowest-direct", [each for each in _requirements("test") if not each.startswith(NEEDS_NEWER_NUMPY)]
    )


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel from the source distribution, install it, and use it far from the checkout.

    Then the checkout is used without being installed, from the same folder.
    """
    scripts = CHECKOUT / "tests" / "wheel"
    with tempfile.TemporaryDirectory() as elsewhere:
        session.run("uv", "build", "--quiet", "--out-dir", f"{elsewhere}/dist", external=True)
        (built,) = Path(elsewhere, "dist").glob("*.whl")
        session.install(str(built), *(each for each in _requirements("dev") if each.startswith("mypy")))
        session.chdir(elsewhere)
        alone = {"PYTHONPATH": ""}
        session.run("python", str(scripts / "contents.py"), str(CHECKOUT), env=alone)
        session.run("fairmot", "--help", silent=True, env=alone)
        session.run("fairmot", "track", "demo", "--frames", "20", "--output", "wheel", env=alone)
        _require(Path("wheel", "demo", "tracks.txt").read_text().count("\n") > 50, "fairmot track demo found nobody")
        answer = session.run("python", str(scripts / "use.py"), silent=True, env=alone)
        _require(str(answer).count(" tracks, ids [") == 3, f"three frames were not tracked: {answer}")
        session.run("mypy", "--strict", str(scripts / "use.py"), env=alone)
        revealed = session.run("mypy", "--strict", str(scripts / "reveal.py"), silent=True, env=alone)
        _require("fairmot.core.records.Tracks" in str(revealed), f"mypy does not know the types: {revealed}")

        session.run("uv", "pip", "uninstall", "fairmot-tensorrt", external=True)
        run_track = str(CHECKOUT / "run_track.py")
        session.run("python", run_track, "--help", silent=True, env=alone)
        session.run("python", run_track, "demo", "--frames", "2", "--output", "checkout", env=alone)
        _require(Path("checkout", "demo", "tracks.txt").is_file(), "run_track.py demo has not written its tracks")


def _require(condition: bool, otherwise: str) -> None:
    """End the session with an error unless a condition holds."""
    if not condition:
        raise RuntimeError(otherwise)


def _requirements(extra: str) -> list[str]:
    """Return what the project and one of its extras depend on."""
    project = nox.project.load_toml(CHECKOUT / "pyproject.toml")["project"]
    return [*project["dependencies"], *project["optional-dependencies"][extra]]


def _run_tests(session: nox.Session, resolution: str, requirements: list[str], *options: str) -> None:
    """Install, show what was installed, and run the tests of the checkout, which is not built for that."""
    file = Path(session.create_tmp(), "requirements.in")
    file.write_text("\n".join(requirements) + "\n")
    session.install("--upgrade", "--resolution", resolution, "--requirements", str(file))
    session.run("uv", "pip", "freeze", external=True)
    # Not in nox's own folder for temporary files: that lies in the checkout, where no user's files are.
    session.run("python", "-m", "pytest", *options, *session.posargs, env={"TMPDIR": tempfile.gettempdir()})
