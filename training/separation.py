"""Separation of the embeddings of different people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def separation(
    embeddings: npt.NDArray[np.float32], identities: npt.NDArray[np.int64], scenes: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Compare the cosine similarities of pairs of the same person with those of different people.

    Only pairs of one scene count, since a tracker compares no others, and light and camera separate those too easily.

    Args:
        embeddings: `(n, d)` of boxes with known identities.
        identities: `(n,)`.
        scenes: `(n,)`.

    Returns:
        `identity_auc`, the probability that a pair of the same person is the more similar one; `identity_d_prime`, the
        distance of the two means in standard deviations (Green and Swets, "Signal Detection Theory", 1966);
        `identity_same` and `identity_different`, the numbers of pairs. Empty if there are no pairs of either kind.
    """
    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    similar: dict[bool, list[npt.NDArray[np.float32]]] = {True: [], False: []}
    for scene in np.unique(scenes):
        here = np.flatnonzero(scenes == scene)
        first, second = np.triu_indices(len(here), 1)
        similarity = (units[here] @ units[here].T)[first, second]
        same = identities[here[first]] == identities[here[second]]
        similar[True].append(similarity[same])
        similar[False].append(similarity[~same])
    if not similar[True]:
        return {}
    same, different = np.concatenate(similar[True]), np.sort(np.concatenate(similar[False]))
    if not len(same) or not len(different):
        return {}
    below = np.searchsorted(different, same, "left") + np.searchsorted(different, same, "right")
    spread = np.sqrt((same.var() + different.var()) / 2)
    return {
        "identity_auc": float(below.mean() / 2 / len(different)),
        "identity_d_prime": float((same.mean() - different.mean()) / max(spread, 1e-6)),
        "identity_same": len(same),
        "identity_different": len(different),
    }
