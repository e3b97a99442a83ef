"""A fleet that loses a machine: `python -m benchmarks.fleet_check [CLIPS]` (20; needs the extra `fleet`).

Renders short clips, tracks them on a local Ray cluster of two nodes, and kills one node when half of them are complete
and both nodes are tracking. Fails unless every result is complete and equal, byte for byte, to that of a plain
`fairmot track`, and a second start does nothing.
"""

from __future__ import annotations

import glob
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from fairmot.app.fleet.cluster import ray  # quiet, and so before Ray's own modules
from fairmot.cli.main import main as fairmot
from fairmot.video import open_source

FILES = ("tracks.txt", "tracks.jsonl")
# So that a lost node is noticed in two seconds, not in fifteen.
_NOTICE = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a fleet that lost a node.

    Attributes:
        exit_code: of `fairmot fleet`.
        seconds: that it took.
        was_killed: whether the node was killed while both were tracking.
        left: temporary files that are still there at its end.
        summary: content of its `fleet.json`.
    """

    exit_code: int
    seconds: float
    was_killed: bool
    left: tuple[str, ...]
    summary: dict[str, Any]


@contextmanager
def two_nodes(scratch: str) -> Iterator[tuple[str, Any, Any]]:
    """Start a Ray cluster of two nodes with one core each; yields its address, itself and the second node.

    Args:
        scratch: folder for the temporary files of its workers.
    """
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20}
    before = {name: os.environ.get(name) for name in ("TMPDIR", "RAY_TMPDIR")}
    os.environ |= {"TMPDIR": scratch, "RAY_TMPDIR": tempfile.gettempdir()}  # which the nodes inherit
    cluster = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False, "_system_config": _NOTICE}
    )
    try:
        second = cluster.add_node(**node)
        yield cluster.address, cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}


def run_and_kill(inputs: Sequence[str], output: Path, options: Sequence[str], half: int) -> Outcome:
    """Run a fleet on two nodes, one of which is killed once `half` of the results are complete and both are tracking.

    Args:
        inputs: of the fleet.
        output: folder of its results.
        options: further words of the command line.
        half: number of complete results.
    """
    killed, ended = threading.Event(), threading.Event()
    with tempfile.TemporaryDirectory() as scratch, two_nodes(scratch) as (address, cluster, second):

        def kill() -> None:
            while not ended.wait(0.01):
                running = glob.glob(f"{scratch}/*/*/results/*/tracks.txt")
                if len(running) == 2 and len(glob.glob(f"{output}/*/run.json")) >= half:
                    cluster.remove_node(second, allow_graceful=False)
                    killed.set()
                    return

        thread = threading.Thread(target=kill)
        thread.start()
        began = time.monotonic()
        try:
            words = ["fleet", *inputs, "--output", str(output), "--address", address, "--cpus-per-worker", "1"]
            code = fairmot([*words, *options])
        finally:
            ended.set()
            thread.join()
        left = tuple(glob.glob("fairmot-*", root_dir=scratch))
    return Outcome(code, time.monotonic() - began, killed.is_set(), left, read_summary(output))


def read_summary(output: Path) -> dict[str, Any]:
    """Return the content of `fleet.json`."""
    content: dict[str, Any] = json.loads((output / "fleet.json").read_text())
    return content


def differences(plain: Path, output: Path, names: Sequence[str]) -> list[str]:
    """Return the result files that a fleet left out or that are not those of a plain run."""
    return [
        f"{name}/{file}"
        for name in names
        for file in FILES
        if not (output / name / file).is_file()
        or (output / name / file).read_bytes() != (plain / name / file).read_bytes()
    ]


def render(folder: Path, count: int) -> list[Path]:
    """Render so many clips of people who walk, 75 frames each."""
    clips = [folder / f"walk{seed:02d}.mp4" for seed in range(count)]
    for seed, clip in enumerate(clips):
        with (
            open_source(f"demo?people={5 + seed % 4}&frames=75&size=640x360&seed={seed}") as source,
            av.open(str(clip), "w") as container,
        ):
            stream: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = *source.size, "yuv420p"
            for frame in source:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.bgr, format="bgr24")))
            container.mux(stream.encode(None))
    return clips


def main() -> int:
    """Run and return 0, or 1 if something failed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = list(map(str, render(folder, count)))
        names = [Path(clip).stem for clip in clips]
        options = ["--no-video", "--size", "160x96"]
        plain, output = folder / "plain", folder / "fleet"
        began = time.monotonic()
        code = fairmot(["track", *clips, "--output", str(plain), *options])
        print(f"plain run: exit code {code}, {time.monotonic() - began:.1f} s")
        outcome = run_and_kill(clips, output, options, count // 2)
        videos = outcome.summary["videos"]
        retries = sum(video["retries"] for video in videos)
        complete = sum(video["status"] == "complete" for video in videos)
        print(
            f"fleet: exit code {outcome.exit_code}, {outcome.seconds:.1f} s, node killed: {outcome.was_killed}, "
            f"{complete} of {count} complete, {retries} retries, temporary files left: {len(outcome.left)}"
        )
        wrong = differences(plain, output, names)
        print(f"differences from the plain run: {', '.join(wrong) or 'none'}")
        before = {path: path.stat().st_mtime_ns for path in output.glob("*/*")}
        began = time.monotonic()
        again = fairmot(["fleet", *clips, "--output", str(output), *options])
        untouched = before == {path: path.stat().st_mtime_ns for path in output.glob("*/*")}
        found = sum(video["found"] for video in read_summary(output)["videos"])
        print(
            f"second start: exit code {again}, {time.monotonic() - began:.1f} s, {found} complete before, "
            f"results untouched: {untouched}"
        )
    survived = outcome.was_killed and retries and complete == found == count and not outcome.left
    good = survived and untouched and not wrong
    return int(not good or bool(code or outcome.exit_code or again))


if __name__ == "__main__":
    sys.exit(main())
