from __future__ import annotations

import logging
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support import clip_files as clips
from support import image_files

from fairmot.core import SourceError
from fairmot.video import expand_sources, open_source
from fairmot.video.images import natural_key


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
    info = "[Sequence]\nname=MOT-X\nimDir=images\nframeRate=14\nseqLength=3\nimExt=.png\nimWidth=24\nimHeight=16\n"
    folder = tmp_path / "x"
    write_images(folder / "images", ["000001.png", "000002.png", "000003.png", "000003.jpg"])
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
    damage = "3 of 7 images of walk cannot be read, first 000001.jpg; their frames are skipped."
    assert [record.message for record in caplog.records] == [
        "walk lacks 2 images, first number 5; they are skipped.",
        f"The image {folder}/img1/000001.jpg cannot be read; frame 1 is skipped: it is not a BMP, JPEG, PNG, TIFF or "
        "WebP image.",
        damage,
    ]
    assert source.damaged == damage
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
    ("make", "message"),
    [
        (
            bad_ini("frameRate=25\n"),
            r'seqinfo.ini is not a sequence description; it must begin with a line "\[Sequence\]"',
        ),
        (bad_ini("[Other]\nframeRate=25\n"), "seqinfo.ini is not a sequence description"),
        (bad_ini("[Sequence]\nframeRate=fast\n"), "seqinfo.ini: frameRate must be a number above 0, not 'fast'"),
        (bad_ini("[Sequence]\nseqLength=nan\n"), "seqinfo.ini: seqLength must be a number above 0, not 'nan'"),
        (bad_ini("[Sequence]\nimDir=nowhere\n"), "nowhere cannot be read: No such file"),
        (only_garbage, r"None of the 1 images in .* can be read; the first is 1\.jpg: it is not a BMP"),
        (lambda folder: folder, "holds no images .*give a folder of images"),
    ],
)
def test_bad_folders_raise_one_message(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(str(make(tmp_path)))


@pytest.mark.parametrize("leads", ["../outside", "/", "img1/../..", "link", "link/deeper", "img1/../../walk2"])
def test_images_lie_inside_the_sequence(tmp_path: Path, leads: str) -> None:
    write_images(tmp_path / "outside" / "deeper", ["1.jpg"])
    write_images(tmp_path / "walk2", ["1.jpg"])
    write_images(tmp_path / "outside", ["1.jpg"])
    folder = write_sequence(tmp_path / "walk", 2, f"[Sequence]\nimDir={leads}\n")
    (folder / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceError, match=r"seqinfo\.ini: imDir must be a folder inside the sequence, not ") as caught:
        open_source(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("leads", [".", "img1", "./img1/", "a/../img1", "inner"])
def test_images_anywhere_inside_the_sequence(tmp_path: Path, leads: str) -> None:
    folder = write_sequence(tmp_path / "walk", 2, f"[Sequence]\nimDir={leads}\n")
    (folder / "a").mkdir()
    write_images(folder, ["1.jpg", "2.jpg"])
    (folder / "inner").symlink_to("img1")
    (tmp_path / "link").symlink_to("walk")
    for path in (folder, tmp_path / "link"):
        with open_source(str(path)) as source:
            assert len(list(source)) == 2


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    names = ["frame_0001.jpg", "frame_0002.JPG", "frame_0003.jpg"]
    apple = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(60)
    for folder in (tmp_path / "plain", tmp_path / "seq" / "img1"):
        write_images(folder, names)
        for name in names:
            (folder / f"._{name}").write_bytes(apple)
        write_images(folder, [".hidden.png"])
        for name in (".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"junk")
        (folder / "frame_0000.jpg").mkdir()  # nor are folders
    for path in (tmp_path / "plain", tmp_path / "seq"):
        with open_source(str(path)) as source:
            assert [frame.index for frame in source] == [1, 2, 3]
            assert source.damaged is None


def test_a_broken_link_keeps_its_number(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", ["1.png", "3.png"])
    (folder / "2.png").symlink_to("nowhere.png")
    with open_source(str(folder)) as source:
        assert [frame.index for frame in source] == [1, 3]
    assert source.damaged == "1 of 3 images of a cannot be read, first 2.png; their frames are skipped."


def test_pipes_and_sockets_among_images_are_left_alone(tmp_path: Path) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    os.mkfifo(tmp_path / "0.png")
    with open_source(str(tmp_path)) as source:
        assert len(list(source)) == 2


def test_only_damage_among_the_chosen_frames_counts(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", [f"{number}.png" for number in range(1, 8)])
    for number in (2, 4, 7):
        (folder / f"{number}.png").write_bytes(b"")
    with open_source(str(folder), stride=2) as source:
        assert [frame.index for frame in source] == [1, 3, 5]
    assert source.damaged == "1 of 7 images of a cannot be read, first 7.png; their frames are skipped."
    with open_source(str(folder), start=5, count=2) as source:
        assert [frame.index for frame in source] == [5, 6]
    assert source.damaged is None


@pytest.mark.parametrize("position", [1, 2, 3])
def test_one_image_too_large_is_skipped(tmp_path: Path, position: int, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_images(tmp_path / "a", ["1.png", "2.png", "3.png"])
    (folder / f"{position}.png").write_bytes(image_files.bombs(30000, 30000)["a.png"])
    with open_source(str(folder)) as source:
        assert [frame.index for frame in source] == [number for number in (1, 2, 3) if number != position]
    assert "30000x30000 pixels, more than --max-pixels allows" in caplog.text
    assert source.damaged is not None
    with pytest.raises(SourceError, match="--max-pixels allows, which is 383"):
        open_source(str(write_images(tmp_path / "b", ["1.png"])), max_pixels=24 * 16 - 1)


@pytest.mark.parametrize(
    "names",
    [
        ["1700000000123.jpg", "1700000000163.jpg"],
        ["1700000000.jpg", "1700000001.jpg"],
        ["cam_20240101120000.jpg", "cam_20240101120001.jpg"],
        ["0001.jpg", "99999999999999999999999999.jpg"],
        ["10000001.jpg", "10000002.jpg"],
        [f"{'9' * 200}1.jpg", f"{'9' * 200}2.jpg"],
    ],
)
def test_times_as_names_are_numbered_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str]
) -> None:
    folder = write_images(tmp_path / "cam" / "img1", names).parent
    with open_source(str(folder)) as source:
        assert source.frame_count == 2
        assert [(frame.index, frame.timestamp) for frame in source] == [(1, 0), (2, 1 / 30)]
    assert len(caplog.records) == 1
    assert "so they are times; images are numbered in order" in caplog.text


@pytest.mark.parametrize(
    ("names", "info", "warning"),
    [
        (["1.jpg", "9999999.jpg"], "", "seq lacks 9999997 images, first number 2; they are skipped."),
        (["1.jpg", "2.jpg"], "seqLength=9999999", "seq lacks 9999997 images, first number 3; they are skipped."),
        (["1.jpg", "2.jpg"], "seqLength=999999999", "states 999999999 frames, more than any sequence has"),
        (["1.jpg", "2.jpg"], "seqLength=1e300", "states 1e+300 frames, more than any sequence has"),
    ],
)
def test_large_numbers_cost_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], info: str, warning: str
) -> None:
    folder = write_images(tmp_path / "seq" / "img1", names).parent
    (folder / "seqinfo.ini").write_text(f"[Sequence]\n{info}\n")
    tracemalloc.start()
    began = time.perf_counter()
    with open_source(str(folder)) as source:
        assert (source.frame_count, len(list(source))) == (2, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (time.perf_counter() - began < 5, peak < 20e6) == (True, True)
    assert [warning in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".webp", ".tif", ".TIFF", ".bmp"])
def test_a_single_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.of.me{suffix}"
    path.write_bytes(image_files.encode(suffix.lower()[:5], image_files.quarters()))
    assert expand_sources(str(path)) == [str(path)]
    with open_source(str(path), pixel_format="yuv420p") as source:
        assert (source.name, source.size, source.frame_count, source.is_live) == ("photo.of.me", (60, 40), 1, False)
        (frame,) = source
    assert (frame.index, frame.timestamp, image_files.corners(frame.bgr)) == (1, 0.0, "BGRW")


def test_a_single_image_is_upright(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(image_files.oriented(".jpg", image_files.quarters(), 6))
    with open_source(str(tmp_path / "a.jpg")) as source:
        (frame,) = source
    assert (source.size, image_files.corners(frame.pixels)) == ((40, 60), "RBWG")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg", b"", "it is empty"),
        ("a.png", b"not an image", "it is not a BMP"),
        ("a.png", image_files.encode(".png", image_files.noise())[:-100], "it is cut off"),
        ("a.tif", image_files.bombs(30000, 30000)["a.tif"], "it has 30000x30000 pixels, more than --max-pixels allows"),
    ],
)
def test_a_single_image_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=rf"^The image .*{name} cannot be read \({reason}.*\)\.$"):
        open_source(str(tmp_path / name))


def test_an_animation_is_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with av.open(str(path), "w", format="apng") as container:
        stream = container.add_stream("apng", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clips.flat(number, (64, 48)), format="rgb24")))
        container.mux(stream.encode(None))
    with open_source(str(path)) as source:
        assert (source.frame_rate, len(list(source))) == (10, 3)


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
