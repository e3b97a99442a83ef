"""`fairmot inspect`: the layers of a built engine, their formats and times."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from fairmot.cli.command import Command
from fairmot.cli.packages import require_tensorrt
from fairmot.core.console import log_to_stderr
from fairmot.core.errors import ConfigError
from fairmot.core.options import argument, option


@dataclass(frozen=True)
class Options:
    """The options of `fairmot inspect`.

    Raises:
        ConfigError: if a value is out of range.
    """

    plan: Path = argument("a file of `fairmot build`", "PLAN")
    times: bool = option("run it and add the time of every layer; needs a plan built with --aux-streams 0", False)
    batch: int | None = option(
        "frames at once for --times; null means the first number that the plan was built for", None
    )
    runs: int = option("runs that --times takes the median of", 50)

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ConfigError(f"runs must be at least 1, not {self.runs}.")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.engine.trt.inspect import print_plan
    from fairmot.engine.trt.plan import Plan

    log_to_stderr(logging.INFO)
    plan = Plan.read(options.plan)
    times: dict[str, float] | None = None
    if options.times:
        batches = plan.settings.batches
        batch = batches[0] if options.batch is None else options.batch
        if batch not in batches:
            known = ", ".join(map(str, batches))
            raise ConfigError(f"batch must be a number that the plan was built for ({known}), not {batch}.")
        require_tensorrt()
        from fairmot.engine.trt.inspect import layer_times  # needs TensorRT

        times = layer_times(plan, batch, options.runs)
    print_plan(plan, times)
    return 0


COMMAND = Command(
    Options,
    run,
    "List the layers of a built engine, their formats and, with --times, times.",
    ("fairmot inspect fairmot.plan", "fairmot inspect fairmot.plan --times --batch 1"),
    "fairmot.engine.trt.inspect",
)
