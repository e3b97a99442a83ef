"""The report of an evaluation: the scores, how they were computed, and how the results were made."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairmot.core.version import PROJECT, installed_versions
from fairmot.tracker.evaluation.overlap import DISTRACTORS, MATCH_IOU
from fairmot.tracker.evaluation.scores import Scores
from fairmot.tracker.evaluation.sequences import ScoredSequence

_RUN, _RUN_SETTINGS = "run.json", ("configuration", "engine", "model", "versions")
_PACKAGES = (PROJECT, "motmetrics", "numpy", "scipy")
_log = logging.getLogger("fairmot.tracker.evaluation")


def evaluation_report(
    settings: Mapping[str, Any], sequences: Sequence[ScoredSequence], scores: Mapping[str, Scores]
) -> dict[str, Any]:
    """Return the content of the JSON file of an evaluation.

    Args:
        settings: `ground_truth`, `results`, `benchmark`, `split` and `sequences` of the command.
        sequences: that were scored.
        scores: by name of the sequence.
    """
    return {
        "settings": {
            **settings,
            "match_iou": MATCH_IOU,
            "distractor_classes": DISTRACTORS if settings["benchmark"] == "mot17" else (),
            "versions": {"python": platform.python_version(), **installed_versions(_PACKAGES)},
        },
        "combined": Scores.combined(scores.values()).to_dict(),
        "sequences": {name: each.to_dict() for name, each in scores.items()},
        "runs": {sequence.name: _run_settings(sequence.results.parent / _RUN) for sequence in sequences},
    }


def _run_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings from the `run.json` that the tracker wrote beside its results, if there is one."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: content[name] for name in _RUN_SETTINGS if name in content}
    except (OSError, ValueError, TypeError) as error:
        _log.warning("The settings of the run in %s cannot be read: %s", path, error)
        return None
