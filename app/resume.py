"""Which sources need not be tracked again: those whose results are complete, with the settings of this run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from fairmot.app.options import Options
from fairmot.app.report import RunReport, read_run
from fairmot.core.errors import ConfigError
from fairmot.core.renames import Renames
from fairmot.video import Source
from fairmot.video.sources import names_path

# These change no result: where and what else, how it is shown and scored. The model is told by its content.
_INDIFFERENT = ("sources", "output", "show", "eval", "benchmark", "resume", "weights", "max_pixels")


def finished_run(
    spec: str, source: Source, options: Options, inputs: Mapping[str, Any], files: Iterable[Path], folder: Path
) -> RunReport | None:
    """Return the report of the run that has left complete results in `folder`, or none if it must be done (again).

    Only files and folders are the same when they are opened again; others are always tracked.

    Args:
        spec: of the source.
        source: opened.
        options: of this run.
        inputs: of this run, see `fairmot.app.report.inputs_of`.
        files: which this run would write.
        folder: of the results.
    """
    truth = source.ground_truth if options.eval else None
    if source.is_live or not names_path(spec) or (truth is not None and not truth.is_relative_to(spec)):
        return None
    facts = read_run(folder)
    try:
        same = _deciding(facts) == _deciding(inputs)
        report = RunReport(**{each.name: facts[each.name] for each in fields(RunReport) if each.name in facts})
    except (KeyError, TypeError, AttributeError, ConfigError):  # of another version, or not ours
        return None
    return report if same and report.status == "complete" and all(file.is_file() for file in files) else None


def _deciding(facts: Mapping[str, Any]) -> list[Any]:
    """Return what decides the results, of what `run.json` says."""
    configuration = Renames().content(facts["configuration"])  # of an older version as well
    settings = {key: value for key, value in configuration.items() if key not in _INDIFFERENT}
    engine = facts["engine"]
    return [facts["source"], engine["name"], engine["input_size"], facts["model"]["sha256"], settings]
