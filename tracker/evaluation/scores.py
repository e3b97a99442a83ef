"""The counts of one sequence or of several together, and the measures that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from rich.table import Table

from fairmot.tracker.evaluation.hota import HOTACounts

MEASURES = ("hota", "deta", "assa", "loca", "mota", "motp", "idf1", "precision", "recall")
_PARTS = ("overlap", "hota_counts")  # of measures, not reported themselves
_COLUMNS = {
    "HOTA": "hota",
    "DetA": "deta",
    "AssA": "assa",
    "LocA": "loca",
    "MOTA": "mota",
    "IDF1": "idf1",
    "recall": "recall",
    "precision": "precision",
    "switches": "switches",
    "FP": "false_positives",
    "misses": "misses",
    "GT boxes": "gt_boxes",
    "frames": "frames",
}


@dataclass(frozen=True)
class Scores:
    """Counts of one sequence or of several; measures are shares (MOTA can be negative).

    A measure is NaN where its denominator is 0 (TrackEval writes 0 or 1 there).

    Attributes:
        frames: frames that were scored.
        gt_boxes, result_boxes: boxes of the ground truth and of the results that count in them.
        gt_tracks: people in the ground truth.
        matches: boxes of the ground truth with a partner, switches included.
        misses, false_positives: boxes of the truth and of the results without a partner.
        switches: matches with another identity than the last one.
        fragmentations: times that a person was lost between two matches.
        mostly_tracked, mostly_lost: people found in more than 80 % and in less than 20 % of their boxes.
        id_true_positives: boxes that agree under the best one-to-one mapping of identities over all frames.
        overlap: sum of the IoU of the matches.
        hota_counts: the counts behind HOTA.
    """

    frames: int
    gt_boxes: int
    result_boxes: int
    gt_tracks: int
    matches: int
    misses: int
    false_positives: int
    switches: int
    fragmentations: int
    mostly_tracked: int
    mostly_lost: int
    id_true_positives: int
    overlap: float
    hota_counts: HOTACounts

    @property
    def hota(self) -> float:
        """Geometric mean of detection and association accuracy, over 19 thresholds (Luiten et al., 2021)."""
        return self._hota("hota")

    @property
    def deta(self) -> float:
        """Share of boxes that match, of the boxes of both sides, over the same thresholds."""
        return self._hota("deta")

    @property
    def assa(self) -> float:
        """Mean overlap of the whole tracks of the two sides of a match, over the same thresholds."""
        return self._hota("assa")

    @property
    def loca(self) -> float:
        """Mean IoU of the matches, over the same thresholds."""
        return self._hota("loca")

    @property
    def mota(self) -> float:
        """1 - (misses + false positives + switches) / boxes of the truth (Bernardin and Stiefelhagen, 2008)."""
        return _share(self.matches - self.false_positives - self.switches, self.gt_boxes)

    @property
    def motp(self) -> float:
        """Mean IoU of the matches."""
        return _share(self.overlap, self.matches)

    @property
    def idf1(self) -> float:
        """Boxes that agree in identity, over the mean number of boxes (Ristani et al., 2016)."""
        return _share(2 * self.id_true_positives, self.gt_boxes + self.result_boxes)

    @property
    def precision(self) -> float:
        """Share of the results' boxes that match."""
        return _share(self.matches, self.result_boxes)

    @property
    def recall(self) -> float:
        """Share of the truth's boxes that were found."""
        return _share(self.matches, self.gt_boxes)

    @classmethod
    def combined(cls, scores: Iterable[Scores]) -> Scores:
        """Return the scores of several sequences as of one: counts are added, people are those of each."""
        scores = list(scores)
        counts = [field.name for field in fields(cls) if field.name != "hota_counts"]
        return cls(
            **{name: sum(getattr(score, name) for score in scores) for name in counts},
            hota_counts=HOTACounts.total(score.hota_counts for score in scores),
        )

    def to_dict(self) -> dict[str, float | int | None]:
        """Return measures and counts for JSON; an undefined measure is none."""
        measures = {name: getattr(self, name) for name in MEASURES}
        counts = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _PARTS}
        return {**{name: None if math.isnan(value) else value for name, value in measures.items()}, **counts}

    def _hota(self, name: str) -> float:
        return self.hota_counts.measures(self.gt_boxes, self.result_boxes)[name]


def score_table(scores: Mapping[str, Scores], title: str | None = None, *, decimals: int = 1) -> Table:
    """Return a rich table with a row for each named sequence, and one for all where there are several.

    Args:
        scores: by name of the sequence.
        title: of the table.
        decimals: of measures, which are shown in percent.
    """
    table = Table(title=title)
    table.add_column("sequence", no_wrap=True)
    for heading in _COLUMNS:
        table.add_column(heading, justify="right")
    for name, value in scores.items():
        table.add_row(name, *_cells(value, decimals))
    if len(scores) > 1:
        table.add_section()
        table.add_row("combined", *_cells(Scores.combined(scores.values()), decimals), style="bold")
    return table


def _cells(scores: Scores, decimals: int) -> list[str]:
    """Return the text of one row."""
    cells = []
    for name in _COLUMNS.values():
        value = getattr(scores, name)
        if name not in MEASURES:
            cells.append(str(value))
        else:
            cells.append("-" if math.isnan(value) else f"{100 * value:.{decimals}f}")
    return cells


def _share(part: float, whole: int) -> float:
    return part / whole if whole else math.nan
