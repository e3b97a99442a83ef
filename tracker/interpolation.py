"""Linear interpolation of gaps in finished tracks, a post-processing of results for offline use."""

from __future__ import annotations

import numpy as np

from fairmot.core.motchallenge import Boxes


def interpolate(boxes: Boxes, longest_gap: int | None = None) -> Boxes:
    """Return results in which the gaps of tracks that were lost and found again are filled.

    Box and score are interpolated linearly between the last row before a gap and the first after it, like boxes in
    ByteTrack's `tools/interpolation.py`.

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
    # New row k lies `step[k]` frames after sorted row `before[k]`.
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
