"""Whole commands on one GPU host, streams from one to many: `python -m benchmarks.streams FOLDER`.

FOLDER is what `python -m benchmarks.widened FOLDER --weights HALF.onnx` made. Every row is the real command in a
process of its own; rows are JSON lines at once (`--output`), at the end Markdown tables and the goals.

Parts (`--parts`): `build` runs a few frames, so that plans are in the cache (it may take minutes; its rows count for
nothing); `classic`, the pipeline of `benchmarks/classic_pipeline.py`; `file`, one file to text and JSON; `video`, the
same with annotated video, drawn and as subtitles; `files`, eight files at once; `live`, 16 live streams of 30 frames/s;
`gpus`, files at once over 1, 2 and 4 GPUs.

What the timer covers: `frames/s` from the first frame asked for to closed files (`wall_seconds` of run.json, or from
the first start to the last end of several); `steady` from a tenth of the frames to nine tenths, by the growth of
tracks.jsonl; `command` the process from its start to its end, with imports and the engine's opening. GPU busy: the
stage `gpu` of run.json (events of CUDA) over the time of `frames/s`, and nvidia-smi's utilization (a kernel was
running) sampled meanwhile. Medians of three where a run takes under ten seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from benchmarks.stream_inputs import LIVE_RATE, copies, write_live, write_long

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("build", "classic", "file", "video", "files", "live", "gpus")
SHORT = 10.0  # seconds
FIRST_PORT = 23_000
_LIVE_FRAMES = 300  # of the file that is sent again and again

Row = dict[str, Any]


class Benchmark:
    """What the parts share: options, flags that the command has, rows so far.

    Args:
        options: of the command line.

    Attributes:
        rows: so far.
        began: when the time of `--limit` began to run.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows: list[Row] = []
        self.began = time.perf_counter()
        help_text = subprocess.run(
            [sys.executable, "run_track.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        self._flags = {word.strip(",") for word in help_text.split() if word.startswith("--")}

    @property
    def seconds_left(self) -> float:
        """Seconds until the limit for all parts."""
        left: float = self.options.limit - (time.perf_counter() - self.began)
        return left

    def add(self, part: str, name: str, **values: Any) -> None:
        """Keep a row, print it and write it to the file."""
        line = json.dumps({"part": part, "row": name, **values})
        self.rows.append(json.loads(line))
        print(line, flush=True)
        if self.options.output:
            with open(self.options.output, "a") as file:
                file.write(line + "\n")

    def track(self, part: str, name: str, sources: Sequence[Path | str], flags: Sequence[str], repeat: bool) -> None:
        """Run the command on sources and add the row; its runs are repeated where they are short.

        Args:
            part: of the benchmark.
            name: of the row.
            sources: of the command.
            flags: of the command, besides those of all; a row with one that the command lacks is left out.
            repeat: whether short runs are repeated.
        """
        missing = [flag for flag in flags if flag.startswith("--") and flag not in self._flags]
        if missing:
            self.add(part, name, left_out=f"the command has no {missing[0]}")
            return
        runs: list[Row] = []
        try:
            while not runs or (repeat and len(runs) < self.options.runs and runs[0]["command_seconds"] < SHORT):
                runs.append(self._run(sources, flags))
        except (subprocess.SubprocessError, OSError, RuntimeError) as error:
            if not runs:
                self.add(part, name, left_out=str(error))
                return
        middle = sorted(runs, key=lambda run: run["frames_per_second"])[len(runs) // 2]
        self.add(part, name, runs=len(runs), **middle)

    def _run(self, sources: Sequence[Path | str], flags: Sequence[str]) -> Row:
        """Run the command once and return what its run.json files say.

        Raises:
            RuntimeError: if it fails or there is no time.
        """
        options = self.options
        if self.seconds_left < 5:
            raise RuntimeError("no time was left")
        with tempfile.TemporaryDirectory() as folder:
            output, log = Path(folder) / "output", Path(folder) / "log"
            command = [sys.executable, "run_track.py", *map(str, sources), "--output", str(output)]
            command += ["--weights", str(options.weights), "--engine", options.engine, *flags]
            with open(log, "w") as file, Utilization() as utilization, Growth(output) as growth:
                began = time.perf_counter()
                done = subprocess.run(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    timeout=min(self.seconds_left, options.row_limit),
                )
                seconds = time.perf_counter() - began
            found = summary(output)
            if done.returncode or not found:
                words = " ".join(log.read_text(errors="replace").split())
                raise RuntimeError(f"exit code {done.returncode}: {words[-400:]}")
            found["steady_frames_per_second"] = growth.rate()
            return {**found, "command_seconds": round(seconds, 2), "nvidia_smi_percent": utilization.percent}


class Utilization:
    """A context in which nvidia-smi samples the utilization of all GPUs that are in use.

    Attributes:
        percent: mean of the samples above 0, None without any or without nvidia-smi.
    """

    def __init__(self) -> None:
        self.percent: float | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Utilization:
        if shutil.which("nvidia-smi"):
            command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        text, _ = self._process.communicate()
        samples = [int(word) for word in text.split() if word.isdigit()]
        busy = [sample for sample in samples if sample]
        if busy:
            self.percent = round(statistics.mean(busy), 1)


class Growth:
    """A context that watches the JSON lines of all results grow, a line for each frame, written when it is done.

    Args:
        output: folder of the results.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._samples: list[tuple[float, dict[Path, int]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Growth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            sizes = {path: path.stat().st_size for path in self._output.glob("*/tracks.jsonl")}
            self._samples.append((time.perf_counter(), sizes))

    def rate(self) -> float | None:
        """Return frames per second from a tenth of all frames to nine tenths; None where there are too few samples."""
        paths = {path for _, sizes in self._samples for path in sizes}
        ends = {path: list(accumulate(map(len, path.read_bytes().splitlines(keepends=True)))) for path in paths}
        done = [
            (moment, sum(bisect(ends[path], size) for path, size in sizes.items())) for moment, sizes in self._samples
        ]
        total = sum(map(len, ends.values()))
        middle = [(moment, frames) for moment, frames in done if 0.1 * total <= frames <= 0.9 * total]
        if len(middle) < 3 or middle[0][1] == middle[-1][1]:
            return None
        return round((middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0]), 1)


def summary(output: Path) -> Row:
    """Return the figures of all results in an output folder."""
    paths = sorted(output.glob("*/run.json"))
    runs = [json.loads(path.read_text()) for path in paths]
    if not runs:
        return {}
    frames = sum(run["frames"] for run in runs)
    # From the first start to the last end; a report is written when its run ends.
    ends = [path.stat().st_mtime for path in paths]
    starts = [end - run["wall_seconds"] for end, run in zip(ends, runs, strict=True)]
    seconds = runs[0]["wall_seconds"] if len(runs) == 1 else max(ends) - min(starts)
    stages = {stage: 0.0 for run in runs for stage in run["milliseconds"]}
    for run in runs:
        for stage, value in run["milliseconds"].items():
            stages[stage] += value * run["frames"]
    row: Row = {
        "frames": frames,
        "seconds": round(seconds, 3),
        "frames_per_second": round(frames / max(seconds, 1e-9), 1),
        "stages_ms": {stage: round(value / max(frames, 1), 3) for stage, value in stages.items()},
        "identities": sum(run["identities"] for run in runs),
        "status": sorted({run["status"] for run in runs}),
        "results": _digest(path.with_name("tracks.txt") for path in paths),
    }
    if "gpu" in stages:
        row["gpu_busy_percent"] = round(stages["gpu"] / 10 / max(seconds, 1e-9), 1)
    if runs[0]["source"]["is_live"]:
        row |= _live_figures(runs, [path.with_name("tracks.jsonl") for path in paths])
    return row


def _digest(paths: Iterable[Path]) -> str:
    """Return the start of a hash of the text of tracks, and of the JSON lines beside it, to compare rows by."""
    digest = hashlib.sha256()
    for path in paths:
        for file in (path, path.with_suffix(".jsonl")):
            with suppress(OSError):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _live_figures(runs: Sequence[Row], lines: Sequence[Path]) -> Row:
    """Return the drops of every stream and of the worst one, and what the reports say of drops and latency.

    Args:
        runs: the reports.
        lines: the JSON lines of each, whose frame numbers show where frames were dropped.
    """
    drops = [_drops(path) for path in lines]
    shares = [100 * sum(lost) / max(run["frames"] + sum(lost), 1) for run, lost in zip(runs, drops, strict=True)]
    row: Row = {
        "streams": len(runs),
        "most_dropped_percent": round(max(shares), 2),
        "dropped_first_second": [first for first, _ in drops],
        "dropped_later": [later for _, later in drops],
    }
    for key in sorted({key for run in runs for key in run if "latency" in key or "drop" in key}):
        values = [run[key] for run in runs if key in run]
        if all(isinstance(value, dict) for value in values):
            row[key] = {name: max(value.get(name) or 0 for value in values) for name in values[0]}
        else:
            row[key] = max((value for value in values if isinstance(value, int | float)), default=None)
    return row


def _drops(path: Path) -> tuple[int, int]:
    """Return how many frames are missing between those of a file of JSON lines: in its first second, and later."""
    frames = [json.loads(line) for line in path.read_text().splitlines()]
    first, later = 0, 0
    for before, after in pairwise(frames):
        missing = after["frame"] - before["frame"] - 1
        if before["timestamp"] - frames[0]["timestamp"] < 1.0:
            first += missing
        else:
            later += missing
    return first, later


def build(benchmark: Benchmark) -> None:
    """Run a few frames of each kind of plan."""
    for batch in batches(benchmark):
        flags = ["--batch", batch, "--frames", "16", "--no-video"]
        benchmark.options.row_limit, usual = benchmark.options.limit, benchmark.options.row_limit
        benchmark.track("build", f"batch {batch}", [benchmark.options.short], flags, repeat=False)
        benchmark.options.row_limit = usual


def classic(benchmark: Benchmark) -> None:
    """Time the classic pipeline."""
    options = benchmark.options
    command = [sys.executable, "-m", "benchmarks.classic_pipeline", str(options.folder)]
    command += ["--frames", str(min(200, options.frames)), "--size", options.classic_size]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=max(1.0, benchmark.seconds_left)
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, IndexError, ValueError) as error:
        benchmark.add("classic", "classic", left_out=f"{type(error).__name__}: {error}")
        return
    rate = round(found["frames"] / found["seconds"], 1)
    benchmark.add("classic", "classic", frames=found["frames"], frames_per_second=rate)


def file(benchmark: Benchmark) -> None:
    """Time one file to text and JSON lines."""
    for pipeline in ("threads", "processes"):
        for batch in batches(benchmark):
            flags = ["--no-video", "--batch", batch, "--pipeline", pipeline]
            benchmark.track("file", f"{pipeline}, batch {batch}", [benchmark.options.long], flags, repeat=True)
    flags = ["--no-video", "--batch", benchmark.options.batch]
    benchmark.track("file", f"as it comes, batch {benchmark.options.batch}", [benchmark.options.long], flags, True)


def video(benchmark: Benchmark) -> None:
    """Time one file with annotated video."""
    long, batch = [benchmark.options.long], benchmark.options.batch
    benchmark.track("video", "the default command", long, [], repeat=True)
    benchmark.track("video", f"drawn, batch {batch}", long, ["--batch", batch], repeat=True)
    flags = ["--overlay", "subtitles", "--batch", batch]
    benchmark.track("video", f"subtitles, batch {batch}", long, flags, repeat=True)


def files(benchmark: Benchmark) -> None:
    """Time several files at once."""
    many = copies(benchmark.options.medium, benchmark.options.files)
    for jobs in benchmark.options.jobs.split(","):
        flags = ["--no-video", "--batch", benchmark.options.batch, "--jobs", jobs]
        benchmark.track("files", f"jobs {jobs}", many, flags, repeat=False)


def live(benchmark: Benchmark) -> None:
    """Track live streams for a while."""
    options = benchmark.options
    path = options.folder / f"live_{min(_LIVE_FRAMES, options.frames)}.mp4"
    write_live(path, options.short, min(_LIVE_FRAMES, options.frames))
    ports = [FIRST_PORT + number for number in range(options.streams)]
    command = [sys.executable, "-m", "benchmarks.stream_inputs", str(path), *map(str, ports)]
    sender = subprocess.Popen(command, cwd=ROOT)
    try:
        frames = str(round(options.live_seconds * LIVE_RATE))
        urls = [f"udp://127.0.0.1:{port}" for port in ports]
        benchmark.track("live", f"{len(ports)} streams", urls, ["--no-video", "--frames", frames], repeat=False)
    finally:
        sender.terminate()
        sender.wait()


def gpus(benchmark: Benchmark) -> None:
    """Time files at once over several GPUs, four jobs and at least four files for each GPU of the largest row."""
    present = benchmark.options.gpus or _gpu_count()
    counts = [count for count in (1, 2, 4, 8) if count <= present]
    if len(counts) < 2 and not benchmark.options.gpus:
        benchmark.add("gpus", "several GPUs", left_out=f"this host has {present}")
        return
    many = copies(benchmark.options.medium, max(benchmark.options.files, 4 * counts[-1]))
    for count in counts:
        flags = ["--no-video", "--batch", benchmark.options.batch, "--jobs", str(4 * count)]
        flags += ["--gpus", ",".join(map(str, range(count)))]
        benchmark.track("gpus", f"{count} GPUs, {len(many)} files", many, flags, repeat=False)


def _gpu_count() -> int:
    if not shutil.which("nvidia-smi"):
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def batches(benchmark: Benchmark) -> list[str]:
    """Return the batch sizes of rows, as flags."""
    return list(dict.fromkeys(["1", benchmark.options.batch]))


def print_tables(rows: Sequence[Row]) -> None:
    """Print Markdown tables of the rows, then the goals."""
    slow = next((row["frames_per_second"] for row in rows if row["part"] == "classic" and "frames" in row), None)
    columns: dict[str, Callable[[Row], Any]] = {
        "frames": lambda row: row["frames"],
        "frames/s": lambda row: row["frames_per_second"],
        "steady, frames/s": lambda row: row.get("steady_frames_per_second") or "",
        "command, frames/s": lambda row: (
            round(row["frames"] / row["command_seconds"], 1) if "command_seconds" in row else ""
        ),
        "times the classic": lambda row: round(row["frames_per_second"] / slow, 1) if slow else "",
        "GPU busy, %": lambda row: row.get("gpu_busy_percent", ""),
        "nvidia-smi, %": lambda row: row.get("nvidia_smi_percent") or "",
        "results": lambda row: row.get("results", ""),
        "stages, ms a frame": lambda row: ", ".join(f"{name} {ms}" for name, ms in row.get("stages_ms", {}).items()),
        "runs": lambda row: row.get("runs", 1),
    }
    for part in dict.fromkeys(row["part"] for row in rows if row["part"] != "build"):
        print(f"\n## {part}\n\n| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        for row in rows:
            if row["part"] == part and "frames" in row:
                print(f"| {row['row']} | {' | '.join(str(cell(row)) for cell in columns.values())} |")
        for row in rows:
            if row["part"] == part and "left_out" in row:
                print(f"\n{row['row']}: left out, {row['left_out']}")
            if row["part"] == part and "streams" in row:
                print(f"\n{row['row']}: " + ", ".join(f"{key} {row[key]}" for key in row if _is_live_figure(key)))
    print("\n## Goals\n")
    for goal, value in goals(rows, slow):
        print(f"- {goal}: {'not measured' if value is None else value}")


def _is_live_figure(key: str) -> bool:
    return "drop" in key or "latency" in key


def goals(rows: Sequence[Row], slow: float | None) -> list[tuple[str, Any]]:
    """Return each goal with what was measured, None where it was not."""

    def best(part: str, words: str, key: str = "frames_per_second") -> float | None:
        return max(
            (row[key] for row in rows if row["part"] == part and row.get(key) and row["row"].endswith(words)),
            default=None,
        )

    batch = next((row["row"].rpartition(" ")[2] for row in reversed(rows) if row["part"] == "file"), "8")
    fast = best("file", f"batch {batch}")
    steady = "steady_frames_per_second"
    sums = {
        row["row"].split()[0]: row["frames_per_second"] for row in rows if row["part"] == "gpus" and "frames" in row
    }
    streams = next((row for row in rows if row["part"] == "live" and "streams" in row), {})
    figures = {key: value for key, value in streams.items() if _is_live_figure(key)}
    return [
        ("one file, batch 8, at least 1,000 frames/s", fast),
        ("the same, steady", best("file", f"batch {batch}", steady)),
        ("at least 25 times the classic pipeline", round(fast / slow, 1) if fast and slow else None),
        ("one file, batch 1, at least 750 frames/s", best("file", "batch 1")),
        ("the same, steady", best("file", "batch 1", steady)),
        ("GPU busy at batch 8, at least 75 %", best("file", f"batch {batch}", "gpu_busy_percent")),
        ("default command with annotated video, at least 200 frames/s", best("video", "the default command")),
        ("subtitles, at least 800 frames/s", best("video", f"subtitles, batch {batch}")),
        ("eight files at once, at least 1,450 frames/s in sum", best("files", "")),
        ("the same, steady", best("files", "", steady)),
        ("live: at most 1 % dropped by a stream, 95th percentile of latency at most 80 ms", figures or None),
        *(
            (f"{count} GPUs, at least {least} times one", round(sums[count] / sums["1"], 2))
            for count, least in (("2", 1.9), ("4", 3.6))
            if count in sums and "1" in sums
        ),
    ]


def main() -> int:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with dla_34.onnx, dla_34.pth and street.mp4")
    parser.add_argument("--parts", default=",".join(PARTS), help="by commas (all)")
    parser.add_argument("--output", type=Path, help="file that the rows are added to, as JSON lines")
    parser.add_argument("--limit", type=float, default=360.0, help="seconds for all but build, and for build (360)")
    parser.add_argument("--row-limit", type=float, default=120.0, help="seconds for a run of the command (120)")
    parser.add_argument("--engine", default="tensorrt", help="(tensorrt)")
    parser.add_argument("--weights", type=Path, help="ONNX file (FOLDER/dla_34.onnx)")
    parser.add_argument("--batch", default="8", help="the batch size beside 1 (8)")
    parser.add_argument(
        "--frames", type=int, default=3000, help="of the long file; those of many files are half (3000)"
    )
    parser.add_argument("--files", type=int, default=8, help="at once (8)")
    parser.add_argument("--jobs", default="1,2,4,8", help="of the part files, by commas (1,2,4,8)")
    parser.add_argument("--streams", type=int, default=16, help="live (16)")
    parser.add_argument("--live-seconds", type=float, default=20.0, help="(20)")
    parser.add_argument("--gpus", type=int, help="GPUs for the part gpus (all)")
    parser.add_argument("--classic-size", default="1088x608", help="input of the classic pipeline (1088x608)")
    parser.add_argument("--runs", type=int, default=3, help="of short rows (3)")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    if not set(options.parts) <= set(PARTS):
        parser.error(f"--parts must be some of {', '.join(PARTS)}")
    options.weights = (options.weights or options.folder / "dla_34.onnx").resolve()
    options.folder = options.folder.resolve()
    options.short = options.folder / "street.mp4"
    options.long = options.folder / f"street_long_{options.frames}.mp4"
    options.medium = options.folder / f"street_many_{options.frames // 2}.mp4"
    write_long(options.long, options.short, options.frames)
    write_long(options.medium, options.short, options.frames // 2)
    benchmark = Benchmark(options)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"{cores} cores, Python {sys.version.split()[0]}, engine {options.engine}, {options.frames} frames", flush=True
    )
    try:
        for part in options.parts:
            globals()[part](benchmark)
            if part == "build":
                benchmark.began = time.perf_counter()
    finally:
        print_tables(benchmark.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
