"""How good results are: HOTA, CLEAR MOT and identity measures against ground truth, by MOTChallenge's protocols.

    python -m tracker.evaluation GT RESULTS

Every number equals that of TrackEval 1.3, MOTChallenge's own program, on the same files. Frames that are missing from
the results are misses. CLEAR and identity measures are counted by motmetrics, HOTA here.
"""

from tracker.evaluation.evaluate import evaluate, evaluate_sequence, score
from tracker.evaluation.overlap import BENCHMARKS, Benchmark
from tracker.evaluation.scores import Scores, score_table
from tracker.evaluation.sequences import SPLITS, ScoredSequence, Split, find_sequences, split_frames

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
