"""Pairing of ground truth and results, and the frames of a sequence that are scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from fairmot.core.errors import UserError, suggestion
from fairmot.core.sequence_info import read_sequence_info

Split = Literal["full", "val-half"]
SPLITS: tuple[Split, ...] = get_args(Split)
_TRUTH, _TRACKS, _INFO = Path("gt", "gt.txt"), "tracks.txt", "seqinfo.ini"
_NAMED_AT_MOST = 3


@dataclass(frozen=True)
class ScoredSequence:
    """A sequence with its files.

    Attributes:
        name: of the folder or file of the ground truth.
        ground_truth: its text.
        results: text of the tracker.
        length: number of frames, none if no `seqinfo.ini` states it.
    """

    name: str
    ground_truth: Path
    results: Path
    length: int | None

    def frames(self, split: Split) -> range | None:
        """Return the numbers of the frames to score; none means all that have a box.

        Raises:
            UserError: if the length is needed and unknown.
        """
        if self.length is not None:
            return split_frames(self.length, split)
        if split == "full":
            return None
        raise UserError(
            f"The length of {self.name} is not known, so it has no half; put a seqinfo.ini with seqLength into its "
            "folder, beside gt/gt.txt."
        )


def split_frames(length: int, split: Split) -> range:
    """Return the frames of a split of a sequence with `length` frames.

    `val-half` is the second half, as CenterTrack, FairMOT and ByteTrack validate on MOT17: from int(length / 2) + 1.
    """
    return range(1 if split == "full" else length // 2 + 1, length + 1)


def find_sequences(ground_truth: Path, results: Path, patterns: Sequence[str] = ()) -> list[ScoredSequence]:
    """Pair ground truth and results.

    Args:
        ground_truth: a folder of sequences (`SEQUENCE/gt/gt.txt` with `SEQUENCE/seqinfo.ini`, or `SEQUENCE.txt`), one
            such sequence, or a file.
        results: a folder with `SEQUENCE.txt` or `SEQUENCE/tracks.txt` for each sequence, or, for one sequence, also a
            folder with `tracks.txt` or a file.
        patterns: names of the sequences that are wanted, with `*` for anything; none means all.

    Raises:
        UserError: if there is nothing, a sequence without results, or results without a sequence.
    """
    truth, is_folder = _truth_files(ground_truth)
    if not results.exists():
        raise UserError(f"{results} does not exist; give a tracker's text, or a folder of them.")
    if not is_folder:
        (name,) = truth
        found = {name: _single_results(results, name)}
    else:
        if results.is_file():
            raise UserError(
                f"{ground_truth} is a folder of sequences and {results} a single file; give the ground truth of that "
                "sequence."
            )
        found = _result_files(results)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in truth):
            raise UserError(f"No sequence in {ground_truth} is called {pattern}; there is {_listing(truth)}.")
    truth, found = _chosen(truth, patterns), _chosen(found, patterns)
    missing = [name for name in truth if name not in found]
    if missing:
        raise UserError(
            f"{results} has no results of {_listing(missing)}; track them too, or choose the sequences to score with "
            "--sequences."
        )
    unknown = [name for name in found if name not in truth]
    if unknown:
        raise UserError(
            f"{found[unknown[0]]} belongs to no sequence in {ground_truth}; rename or remove it."
            + suggestion(unknown[0], truth)
        )
    return [ScoredSequence(name, path, found[name], _length(path)) for name, path in truth.items()]


def _truth_files(path: Path) -> tuple[dict[str, Path], bool]:
    """Return files of ground truth by sequence, and whether they come from a folder of sequences."""
    if not path.exists():
        raise UserError(f"{path} does not exist; give a gt.txt, a sequence with gt/gt.txt, or a folder of sequences.")
    if path.is_file():
        is_sequence = path.parts[-2:] == _TRUTH.parts
        return {path.resolve().parents[1].name if is_sequence else path.stem: path}, False
    if (path / _TRUTH).is_file():
        return {path.resolve().name: path / _TRUTH}, False
    files = {each.parents[1].name: each for each in path.glob(f"*/{_TRUTH.as_posix()}")}
    files = files or {each.stem: each for each in path.glob("*.txt")}
    if not files:
        raise UserError(
            f"{path} holds no ground truth; give a gt.txt, a sequence with gt/gt.txt, or a folder of such sequences."
        )
    return dict(sorted(files.items())), True


def _single_results(path: Path, name: str) -> Path:
    """Return the results of the only sequence."""
    if not path.is_dir():
        return path
    choices = [path / f"{name}.txt", path / name / _TRACKS, path / _TRACKS]
    for choice in choices:
        if choice.is_file():
            return choice
    raise UserError(f"{path} holds no results of {name}; there should be {name}.txt or {_TRACKS}.")


def _result_files(folder: Path) -> dict[str, Path]:
    """Return files of results by sequence."""
    flat = {each.stem: each for each in folder.glob("*.txt")}
    nested = {each.parent.name: each for each in folder.glob(f"*/{_TRACKS}")}
    twice = sorted(flat.keys() & nested.keys())
    if twice:
        raise UserError(f"{folder} holds both {twice[0]}.txt and {twice[0]}/{_TRACKS}; remove one of them.")
    if not flat and not nested:
        raise UserError(f"{folder} holds no results; there should be SEQUENCE.txt or SEQUENCE/{_TRACKS}.")
    return dict(sorted({**flat, **nested}.items()))


def _chosen(files: dict[str, Path], patterns: Sequence[str]) -> dict[str, Path]:
    """Return the files of the sequences that match a pattern."""
    if not patterns:
        return files
    return {name: path for name, path in files.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _length(ground_truth: Path) -> int | None:
    """Return the number of frames of the sequence that `ground_truth` lies in, if it is known."""
    info = ground_truth.parent.parent / _INFO
    is_sequence = ground_truth.parts[-2:] == _TRUTH.parts
    return read_sequence_info(info).length if is_sequence and info.is_file() else None


def _listing(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
