"""List the layers of a built engine, their formats and, with --times, times."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fairmot.cli.commands.build import check_tensorrt
from fairmot.core.console import ArgumentParser, log_to_stderr
from fairmot.core.errors import ConfigError


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="fairmot inspect", description=__doc__)
    parser.add_argument("plan", type=Path, help="a file of `fairmot build`")
    parser.add_argument(
        "--times",
        action="store_true",
        help="run it and add the time of every layer; needs a plan built with --aux-streams 0",
    )
    parser.add_argument("--batch", type=int, help="images at once for --times (the first that it was built for)")
    parser.add_argument("--runs", type=int, default=50, help="runs that --times takes the median of (50)")
    return parser


def _inspect(options: argparse.Namespace) -> None:
    from fairmot.engine.trt.inspect import print_plan
    from fairmot.engine.trt.plan import Plan

    plan = Plan.read(options.plan)
    times: dict[str, float] | None = None
    if options.times:
        batch = options.batch or plan.settings.batches[0]
        if batch not in plan.settings.batches or options.runs < 1:
            known = ", ".join(map(str, plan.settings.batches))
            raise ConfigError(f"--batch must be one that the plan was built for ({known}) and --runs at least 1.")
        check_tensorrt()
        from fairmot.engine.trt.inspect import layer_times

        times = layer_times(plan, batch, options.runs)
    print_plan(plan, times)


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    log_to_stderr(logging.INFO)
    options = _parser().parse_args(arguments)
    _inspect(options)
    return 0
