from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import clip_files as clips
import cv2
import numpy as np
import pytest

from core import SourceError
from video import expand_sources, open_source
from video.images import natural_key


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (24, 16)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, 1):
        assert cv2.imwrite(str(folder / name), clips.flat(number, size))
    return folder


def write_sequence(folder: Path, count: int = 5, info: str | None = None) -> Path:
    write_images(folder / "img1", [f"{number:06d}.jpg" for number in range(1, count + 1)])
    if info is not None:
        (folder / "seqinfo.ini").write_text(info)
    return folder


def test_folder_in_natural_order_with_all_formats(tmp_path: Path) -> None:
    names = ["f1.png", "f2.jpg", "F3.BMP", "f10.webp", "f11.tif", "f100.jpeg"]
    write_images(tmp_path / "walk", names)
    (tmp_path / "walk" / "notes.txt").write_text("not an image")
    with open_source(str(tmp_path / "walk")) as source:
        assert (source.name, source.size, source.frame_rate) == ("walk", (24, 16), 30.0)
        assert (source.frame_count, source.ground_truth) == (6, None)
        frames = list(source)
    assert [frame.index for frame in frames] == [1, 2, 3, 4, 5, 6]
    assert [round(float(frame.pixels.mean())) for frame in frames] == [25, 30, 35, 40, 45, 50]
    assert frames[3].timestamp == pytest.approx(3 / 30)


def test_sequence_takes_everything_from_its_ini(tmp_path: Path) -> None:
    info = "[Sequence]\nname=MOT-X\nimDir=pictures\nframeRate=14\nseqLength=3\nimExt=.png\nimWidth=24\nimHeight=16\n"
    folder = tmp_path / "x"
    write_images(folder / "pictures", ["000001.png", "000002.png", "000003.png", "000003.jpg"])
    (folder / "seqinfo.ini").write_text(info)
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("1,1,1,1,5,5,1,1,1\n")
    with open_source(str(folder), pixel_format="yuv420p") as source:
        assert (source.name, source.frame_rate, source.frame_count) == ("MOT-X", 14.0, 3)
        assert source.ground_truth == folder / "gt" / "gt.txt"
        frames = list(source)
    assert [frame.timestamp for frame in frames] == pytest.approx([0, 1 / 14, 2 / 14])
    assert {frame.pixel_format for frame in frames} == {"bgr24"}


def test_sequence_without_ini(tmp_path: Path) -> None:
    with open_source(str(write_sequence(tmp_path / "walk"))) as source:
        assert (source.name, source.frame_rate, source.ground_truth) == ("walk", 30.0, None)
        assert len(list(source)) == 5


def test_missing_and_unreadable_images_keep_their_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_sequence(tmp_path / "walk", 8, "[Sequence]\nseqLength=9\n")
    (folder / "img1" / "000001.jpg").write_bytes(b"garbage")
    (folder / "img1" / "000003.jpg").write_bytes(b"")
    (folder / "img1" / "000005.jpg").unlink()
    whole = (folder / "img1" / "000007.jpg").read_bytes()
    (folder / "img1" / "000007.jpg").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING), open_source(str(folder)) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == [2, 4, 6, 8]
    assert [round(float(frame.pixels.mean())) for frame in frames] == [30, 40, 50, 60]
    assert frames[1].timestamp == pytest.approx(3 / 30)
    messages = [record.message for record in caplog.records]
    assert messages[0] == "walk lacks 2 images, first number 5; they are skipped."
    assert [message.split()[-5:] for message in messages[1:]] == [
        f"cannot be read; frame {number} is skipped.".split()[-5:] for number in (1, 3, 7)
    ]
    assert source.damaged is None
    assert capfd.readouterr() == ("", "")


def test_selection_goes_by_number(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "s" / "img1", [f"{number}.png" for number in (3, 4, 5, 9, 12)])
    with open_source(str(folder.parent), start=4, stride=5) as source:
        assert source.frame_count == 2
        assert [frame.index for frame in source] == [4, 9]


def test_names_that_are_no_numbers_from_one_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_images(tmp_path / "kitti" / "img1", ["000000.png", "000001.png"]).parent
    with caplog.at_level(logging.WARNING), open_source(str(folder)) as source:
        assert [frame.index for frame in source] == [1, 2]
    assert "no distinct numbers from 1" in caplog.text


def test_images_of_mixed_size_are_resized_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_images(tmp_path / "a", ["1.png"])
    for name, size in (("2.png", (48, 32)), ("3.png", (10, 60)), ("4.png", (24, 16))):
        write_images(folder, [name], size)
    with caplog.at_level(logging.WARNING), open_source(str(folder)) as source:
        frames = list(source)
    assert [frame.size for frame in frames] == [(24, 16)] * 4
    assert [round(float(frame.pixels.mean())) for frame in frames] == [25] * 4
    assert [record.message for record in caplog.records] == [
        "a changes size to 48x32 at frame 2; such frames are resized to 24x16, the size of the first."
    ]


def test_gray_and_transparent_images_become_bgr(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.full((16, 24), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((16, 24, 4), 77, np.uint8))
    with open_source(str(tmp_path)) as source:
        assert [(frame.pixels.shape, int(frame.pixels[0, 0, 0])) for frame in source] == [((16, 24, 3), 77)] * 2


def bad_ini(text: str) -> Callable[[Path], Path]:
    return lambda folder: write_sequence(folder / "walk", 2, text)


def only_garbage(folder: Path) -> Path:
    (folder / "1.jpg").write_bytes(b"garbage")
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (bad_ini("frameRate=25\n"), r"seqinfo.ini cannot be read; it needs a \[Sequence\] section"),
        (bad_ini("[Other]\nframeRate=25\n"), r"needs a \[Sequence\] section"),
        (bad_ini("[Sequence]\nframeRate=fast\n"), 'holds "fast" where a positive number is needed'),
        (bad_ini("[Sequence]\nframeRate=0\n"), 'holds "0" where a positive number is needed'),
        (bad_ini("[Sequence]\nframeRate=nan\n"), 'holds "nan" where a positive number is needed'),
        (bad_ini("[Sequence]\nimDir=nowhere\n"), "nowhere cannot be read: No such file"),
        (only_garbage, "None of the 1 images in .* can be read"),
        (lambda folder: folder, "holds no images .*give a folder of images"),
    ],
)
def test_bad_folders_give_one_sentence(tmp_path: Path, make: Callable[[Path], Path], sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        open_source(str(make(tmp_path)))


def test_natural_order() -> None:
    names = ["a10b2", "a2b10", "a2b9", "2", "10", "b"]
    assert [path.name for path in sorted(map(Path, names), key=natural_key)] == [
        "2",
        "10",
        "a2b9",
        "a2b10",
        "a10b2",
        "b",
    ]


def test_folders_of_sequences_expand(tmp_path: Path) -> None:
    root = tmp_path / "MOT17"
    for name in ("train/MOT17-10", "train/MOT17-2", "test/MOT17-01"):
        write_sequence(root / name, 1)
    (root / "train" / "notes").mkdir()
    train = [str(root / "train" / name) for name in ("MOT17-2", "MOT17-10")]
    assert expand_sources(str(root / "train")) == train
    assert expand_sources(str(root)) == [str(root / "test" / "MOT17-01"), *train]
    assert expand_sources(train[0]) == [train[0]]


def test_globs_expand_in_natural_order(tmp_path: Path) -> None:
    for name in ("c10.mp4", "c9.mp4", "c1.avi", "[x].mp4"):
        (tmp_path / name).touch()
    assert expand_sources(str(tmp_path / "c*.mp4")) == [str(tmp_path / "c9.mp4"), str(tmp_path / "c10.mp4")]
    assert expand_sources(str(tmp_path / "[x].mp4")) == [str(tmp_path / "[x].mp4")]
    with pytest.raises(SourceError, match="Nothing matches"):
        expand_sources(str(tmp_path / "*.mkv"))


@pytest.mark.parametrize("spec", ["0", "demo", "demo?people=3", "rtsp://host/a?b=*", "http://host/[1].mp4", "none.mp4"])
def test_other_sources_stand_for_themselves(spec: str) -> None:
    assert expand_sources(spec) == [spec]


def test_demo_is_the_built_in_scene() -> None:
    with open_source("demo?people=2&frames=4&size=320x240", start=2, count=2) as source:
        assert source.size == (320, 240)
        assert [frame.index for frame in source] == [2, 3]
