"""Assignment of detections to tracks, given the cost of each pair."""

from __future__ import annotations

from collections.abc import Callable

import lap
import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.intp]
Assign = Callable[[npt.NDArray[np.float64], float], tuple[IndexArray, IndexArray]]

# Keeps a pair that costs exactly the limit apart from "unmatched"; far below any difference that matters.
_EDGE = 1e-9


def assign(cost: npt.NDArray[np.float64], limit: float) -> tuple[IndexArray, IndexArray]:
    """Match rows to columns so that the sum of (cost - limit) over the matched pairs is least.

    This differs from an assignment followed by a threshold: a pair above the limit never displaces another. The result
    is that of `assign_in_square`, except for the choice between equal sums. Two exact shortcuts make it fast. A
    row and a column that have no other partner within the limit are matched at once. The rest is solved as a rectangle
    with `min(cost - limit, 0)`, where a pair of value 0 stands for no match, instead of lap's square matrix of
    `n + m` rows.

    Args:
        cost: `(n, m)`; infinite or NaN means impossible.
        limit: greatest cost of a pair; one that costs exactly this is matched.

    Returns:
        Rows, rising, and their columns; both `(k,)`.
    """
    possible = cost <= limit
    rows, columns = np.divmod(possible.ravel().nonzero()[0], cost.shape[1])  # `possible.nonzero()` in half the time
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if np.count_nonzero(alone) == len(rows):
        return rows, columns
    partner = np.full(cost.shape[0], -1, np.intp)
    partner[rows[alone]] = columns[alone]
    rows, columns = _distinct(rows[~alone]), _distinct(columns[~alone])
    block = np.ix_(rows, columns)
    gain = np.where(possible[block], cost[block] - limit - _EDGE, 0.0)
    chosen, _ = lap.lapjv(gain, extend_cost=True, return_cost=False)
    matched = (chosen >= 0).nonzero()[0]
    matched = matched[gain[matched, chosen[matched]] < 0]
    partner[rows[matched]] = columns[chosen[matched]]
    matched = (partner >= 0).nonzero()[0]
    return matched, partner[matched]


def assign_in_square(cost: npt.NDArray[np.float64], limit: float) -> tuple[IndexArray, IndexArray]:
    """Match like FairMOT (`matching.py`, `linear_assignment`), in lap's square matrix of `n + m` rows.

    Slower than `assign`. Where several assignments have the same least sum, because two boxes are equal or a pair
    costs the limit exactly, the order of lap's search in that matrix decides, which only lap itself reproduces.
    """
    if not cost.size:  # lap writes past the end of empty arrays
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    cost = np.where(np.isnan(cost), np.inf, cost)
    partner, _ = lap.lapjv(cost, extend_cost=True, cost_limit=limit, return_cost=False)
    matched = (partner >= 0).nonzero()[0]
    return matched, partner[matched].astype(np.intp)


def _distinct(values: IndexArray) -> IndexArray:
    """Return the distinct `values`, rising; quicker than `np.unique` for small whole numbers."""
    return np.bincount(values).nonzero()[0]
