"""Evaluation of results against ground truth: HOTA, CLEAR MOT and identity measures by MOTChallenge's protocols.

    fairmot evaluate GT RESULTS

Every number equals that of TrackEval 1.3, MOTChallenge's own program, on the same files. CLEAR and identity measures
are counted by motmetrics, HOTA by `fairmot.tracker.evaluation.hota`.

Rules for unusual files:

- Frames that are missing from the results are misses; an empty result file means no detections.
- Rows may come in any order of frames.
- A measure with a denominator of 0 (no people, no detections) is undefined: NaN, `-` in tables, null in JSON.
- A box without an area overlaps nothing. Boxes may reach outside the image.
- Boxes outside the frames that are scored do not count; one after the end of the sequence is an error.
- Errors, with file and line: values that are not finite or absurdly large, negative widths and heights,
  the same identity twice in a frame, frames below 1, and a number of columns that is wrong or changes.
- Also errors: ground truth without results, results without ground truth, classes that MOT17 does not have.
"""

from fairmot.tracker.evaluation.evaluate import evaluate, evaluate_sequence, score
from fairmot.tracker.evaluation.overlap import BENCHMARKS, Benchmark
from fairmot.tracker.evaluation.scores import Scores, score_table
from fairmot.tracker.evaluation.sequences import SPLITS, ScoredSequence, Split, find_sequences, split_frames

__all__ = [
    "BENCHMARKS",
    "SPLITS",
    "Benchmark",
    "ScoredSequence",
    "Scores",
    "Split",
    "evaluate",
    "evaluate_sequence",
    "find_sequences",
    "score",
    "score_table",
    "split_frames",
]
