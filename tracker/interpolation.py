"""Gaps in finished tracks, filled by straight lines: a post-step on results, for all who need not know at once."""

from __future__ import annotations

import numpy as np

from fairmot.core.motchallenge import Boxes


def interpolate(boxes: Boxes, longest_gap: int | None = None) -> Boxes:
    """Return results with the frames filled in which a track was lost and then found again.

    Box and score go from the last before the gap to the first after it in equal steps, as ByteTrack's
    `tools/interpolation.py` does it for boxes.

    Args:
        boxes: results of a tracker, one box per track and frame.
        longest_gap: most missing frames between two boxes of a track that are filled; none means all.

    Returns:
        The rows given and those added, by frame; rows of one frame are in order of identity.
    """
    order = np.lexsort((boxes.frames, boxes.ids))
    frames, ids = boxes.frames[order], boxes.ids[order]
    missing = np.where(ids[1:] == ids[:-1], np.diff(frames) - 1, 0)
    if longest_gap is not None:
        missing[missing > longest_gap] = 0
    # Row k of the new ones lies `step[k]` frames after row `before[k]` of those sorted.
    before = np.repeat(np.arange(len(missing)), missing)
    step = np.arange(len(before)) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    share = (step / (missing[before] + 1))[:, None]
    values = np.column_stack((boxes.tlwh, boxes.scores))[order]
    values = np.concatenate((values, values[before] + share * (values[before + 1] - values[before])))
    frames = np.concatenate((frames, frames[before] + step))
    ids = np.concatenate((ids, ids[before]))
    class_ids = (
        None if boxes.class_ids is None else np.concatenate((boxes.class_ids[order], boxes.class_ids[order][before]))
    )
    return Boxes(frames, ids, values[:, :4], values[:, 4], class_ids)[np.lexsort((ids, frames))]
