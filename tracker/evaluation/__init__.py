"""How good results are: HOTA, CLEAR MOT and identity measures against ground truth, by MOTChallenge's protocols.

    fairmot evaluate GT RESULTS

Every number equals that of TrackEval 1.3, MOTChallenge's own program, on the same files. CLEAR and identity measures
are counted by motmetrics, HOTA by `fairmot.tracker.evaluation.hota`.

Rules for files that are not as they should be:

- Frames that are missing from the results are misses; an empty result file is a tracker that found nobody.
- Rows may come in any order of frames.
- A measure with nothing to divide by (nobody there, nothing found) does not exist: NaN, `-` in tables, null in JSON.
- A box without an area overlaps nothing. Boxes may reach outside the image.
- Boxes outside the frames that are scored do not count; one after the end of the sequence is an error.
- Errors, named with file and line: values that are no finite numbers or absurdly large, negative widths and heights,
  the same identity twice in a frame, frames below 1, and a number of columns that is wrong or changes.
- Errors, too: ground truth without results, results without ground truth, classes that MOT17 does not have.
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
