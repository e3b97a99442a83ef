"""Build TensorRT engines and look into them.

`python -m engine build MODEL.onnx` builds the engine of a model ahead of its first use. A model that was made
elsewhere (a DCNv2 node is fine) gets one too, with its own input and outputs in float32; it cannot track.
`python -m engine inspect PLAN` lists the layers of a built engine, their formats and, with --times, times.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from core.console import ArgumentParser, exit_code_of, log_to_stderr
from core.errors import ConfigError
from core.text import printable


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="python -m engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build the TensorRT engine of an ONNX model")
    build.add_argument("model", type=Path, nargs="?", help="an ONNX file; the bundled model by default")
    build.add_argument("--precision", choices=["fp16", "fp32"], default="fp16", help="number format (fp16)")
    build.add_argument("--batch", default="1", help="images at once; several numbers by commas, as in 1,4,8 (1)")
    build.add_argument("--size", help="input WIDTHxHEIGHT in pixels (the model's own)")
    build.add_argument(
        "--dcn",
        choices=["plugin", "native", "nvidia"],
        default="plugin",
        help="deformable convolutions by this project's plugin, by native layers where it cannot be built (slower), or "
        "by NVIDIA's plugin for comparison (plugin)",
    )
    build.add_argument(
        "--aux-streams",
        type=int,
        default=3,
        metavar="N",
        help="let branches of the network run beside each other on up to N more streams; `inspect --times` needs 0 (3)",
    )
    build.add_argument("-o", "--output", type=Path, help="the plan file to write (where the engine looks for it)")
    build.set_defaults(run=_build)
    inspect = commands.add_parser("inspect", help="list layers, number formats and times of a built engine")
    inspect.add_argument("plan", type=Path, help="a file of `python -m engine build`")
    inspect.add_argument(
        "--times",
        action="store_true",
        help="run it and add the time of every layer; needs a plan built with --aux-streams 0",
    )
    inspect.add_argument("--batch", type=int, help="images at once for --times (the first that it was built for)")
    inspect.add_argument("--runs", type=int, default=50, help="runs that --times takes the median of (50)")
    inspect.set_defaults(run=_inspect)
    return parser


def _build(options: argparse.Namespace) -> None:
    from engine.foreign import read_for_build
    from engine.plan import BuildSettings

    settings = BuildSettings(
        _size(options.size), _batches(options.batch), options.precision, options.dcn, options.aux_streams
    )
    model = read_for_build(options.model, settings.size, settings.batches)
    model.check_size(settings.size or model.size)
    _check_tensorrt()
    from engine.trt_build import build_plan

    print(printable(build_plan(model, settings, options.output)))


def _inspect(options: argparse.Namespace) -> None:
    from engine.plan import Plan
    from engine.plan_report import print_plan

    plan = Plan.read(options.plan)
    times: dict[str, float] | None = None
    if options.times:
        batch = options.batch or plan.settings.batches[0]
        if batch not in plan.settings.batches or options.runs < 1:
            known = ", ".join(map(str, plan.settings.batches))
            raise ConfigError(f"--batch must be one that the plan was built for ({known}) and --runs at least 1.")
        _check_tensorrt()
        from engine.trt_times import layer_times

        times = layer_times(plan, batch, options.runs)
    print_plan(plan, times)


def _check_tensorrt() -> None:
    """Raise `ConfigError` unless TensorRT can run here."""
    from plugins.library import tensorrt_obstacle

    obstacle = tensorrt_obstacle()
    if obstacle is not None:
        raise ConfigError(obstacle)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f'--size is WIDTHxHEIGHT in pixels, for example 1088x608, not "{text}".')
    return int(width), int(height)


def _batches(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f'--batch is a number or several by commas, for example 1,4,8, not "{text}".')
    return tuple(int(part) for part in parts)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int:
    log_to_stderr(logging.INFO)
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
