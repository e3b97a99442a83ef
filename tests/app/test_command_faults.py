"""User errors through the real command: an exit code and one line, never a traceback."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support import blob_network, material

Prepare = Callable[[Path], list[object]]


def missing_file(folder: Path) -> list[object]:
    material.write_clip(folder / "holiday.mp4")
    return [folder / "holyday.mp4"]


def no_images(folder: Path) -> list[object]:
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("no images")
    return [folder / "notes"]


def text_as_video(folder: Path) -> list[object]:
    (folder / "text.mp4").write_text("This is no video.\n" * 50)
    return [folder / "text.mp4"]


def truncated_video(folder: Path) -> list[object]:
    path = material.write_clip(folder / "cut.mp4", 50)  # its index comes last
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return [path]


def video_without_frames(folder: Path) -> list[object]:
    with av.open(str(folder / "empty.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *material.SIZE, "yuv420p"
        container.start_encoding()
    return [folder / "empty.mp4"]


def unknown_key(folder: Path) -> list[object]:
    (folder / "mine.yaml").write_text("tracker:\n  confidence_treshold: 0.5\n")
    return [material.write_clip(folder / "clip.mp4"), "--config", folder / "mine.yaml"]


def unknown_flag(folder: Path) -> list[object]:
    return [material.write_clip(folder / "clip.mp4"), "--strid", 2]


def missing_output(folder: Path) -> list[object]:
    weights = blob_network.save(folder / "wrong.onnx", blob_network.build(without=["offset"]))
    return [material.write_clip(folder / "clip.mp4"), "--weights", weights]


def wrong_stride(folder: Path) -> list[object]:
    weights = blob_network.save(folder / "wrong.onnx", blob_network.build(cell=8))
    return [material.write_clip(folder / "clip.mp4"), "--weights", weights]


def unwritable_output(folder: Path) -> list[object]:
    (folder / "taken").write_text("a file, so no folder can be made under it")
    return [material.write_clip(folder / "clip.mp4"), "--output", folder / "taken"]


def no_ground_truth(folder: Path) -> list[object]:
    return [material.write_clip(folder / "clip.mp4"), "--eval"]


def broken_ground_truth(folder: Path) -> list[object]:
    sequence = material.write_sequence(folder / "seq", [material.PEOPLE])
    (sequence / "gt" / "gt.txt").write_text("1,1,ten,20,30,40,1,1,1\n")
    return [sequence, "--eval"]


def wide_frames(folder: Path) -> list[object]:
    return [material.write_images(folder / "wide", [np.zeros((16, 20000, 3), np.uint8)])]


def crowd_in_the_ground_truth(folder: Path) -> list[object]:
    sequence = material.write_sequence(folder / "seq", [material.PEOPLE])
    (sequence / "gt" / "gt.txt").write_text("".join(f"1,{person},10,20,30,40,1,1,1\n" for person in range(60_000)))
    return [sequence, "--eval"]


def exploding_yaml(folder: Path) -> list[object]:
    aliases = "".join(f"  - &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, 10))
    (folder / "mine.yaml").write_text(f"output:\n  - &a0 [{'x, ' * 9}]\n{aliases}")
    return [material.write_clip(folder / "clip.mp4"), "--config", folder / "mine.yaml"]


def no_display(folder: Path) -> list[object]:
    return [material.write_clip(folder / "clip.mp4"), "--show"]


def nothing(folder: Path) -> list[object]:
    return ["", "--no-video"]


def broken_link(folder: Path) -> list[object]:
    (folder / "clip.mp4").symlink_to(folder / "gone.mp4")
    return [folder / "clip.mp4"]


def named_pipe(folder: Path) -> list[object]:
    os.mkfifo(folder / "clip.mp4")
    return [folder / "clip.mp4"]


def image_bomb(folder: Path) -> list[object]:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(3751 * 30000), 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert len(data) < 120_000
    (folder / "sky.png").write_bytes(data)
    return [folder / "sky.png"]


def image_above_the_limit(folder: Path) -> list[object]:
    material.write_images(folder / "walk", [material.image()])
    return [folder / "walk", "--max-pixels", 96 * 64 - 1]


def no_limit_of_pixels(folder: Path) -> list[object]:
    return ["demo", "--max-pixels", 0]


def images_elsewhere(folder: Path) -> list[object]:
    sequence = material.write_sequence(folder / "seq", [material.PEOPLE])
    (sequence / "seqinfo.ini").write_text("[Sequence]\nimDir=../other\n")
    return [sequence]


@pytest.mark.parametrize(
    ("prepare", "exit_code", "sentence"),
    [
        (nothing, 1, r"A source is empty; name a file"),
        (broken_link, 1, r"clip\.mp4 is a symbolic link to .*gone\.mp4, which does not exist"),
        (named_pipe, 1, r"clip\.mp4 is a named pipe"),
        (image_bomb, 1, r"sky\.png .*30000x30000 pixels, more than --max-pixels allows, which is 200000000"),
        (image_above_the_limit, 1, r"96x64 pixels, more than --max-pixels allows, which is 6143"),
        (no_limit_of_pixels, 2, r"max_pixels must be at least 1, not 0"),
        (images_elsewhere, 1, r"seqinfo\.ini: imDir must be a folder inside the sequence, not '\.\./other'"),
        (missing_file, 1, r"no file or folder .*holyday\.mp4.* Did you mean \"holiday\.mp4\"\?"),
        (no_images, 1, r"notes holds no images"),
        (text_as_video, 1, r"text\.mp4 is not a video"),
        (truncated_video, 1, r"cut\.mp4 is not a video that can be read, or is cut off"),
        (video_without_frames, 1, r"empty\.mp4"),
        (unknown_key, 2, r'mine\.yaml.*"tracker\.confidence_treshold".*"tracker\.confidence_threshold"\?'),
        (unknown_flag, 2, r'"strid" is unknown\. Did you mean "stride"\?'),
        (missing_output, 1, r'wrong\.onnx has no output "offset"'),
        (wrong_stride, 1, r"wrong\.onnx.*stride of 4"),
        (unwritable_output, 1, r"taken.* cannot be written \(not a directory\)"),
        (no_ground_truth, 1, r"clip has no ground truth.*leave out --eval"),
        (broken_ground_truth, 1, r"gt\.txt, line 1"),
        (
            wide_frames,
            1,
            r"wide/tracked\.mp4: .*20000x16 pixels \(it takes at most 16384 .*--no-video",
        ),
        (crowd_in_the_ground_truth, 1, r"gt\.txt, line 5001: frame 1 has more than 5000 boxes"),
        (exploding_yaml, 2, r"mine\.yaml cannot be used: it holds more than 10000 values"),
        (no_display, 1, r"no display.*leave out --show"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_fault(tmp_path: Path, weights: Path, prepare: Prepare, exit_code: int, sentence: str) -> None:
    arguments = ["--weights", weights, "--output", tmp_path / "out", *prepare(tmp_path)]
    done = material.run(*arguments)
    assert done.returncode == exit_code
    material.check_sentence(done.stderr, sentence)
    assert not list(tmp_path.rglob("tracks.txt")), "a fault known before tracking comes first"


def test_a_cut_off_video_gives_what_can_be_read(tmp_path: Path, weights: Path) -> None:
    noise = [np.random.default_rng(number).integers(0, 255, (64, 96, 3), np.uint8) for number in range(40)]
    path = material.write_video(tmp_path / "cut.mp4", noise, muxer={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = material.run(path, "--weights", weights, "--output", tmp_path)
    assert done.returncode == 1
    material.check_sentence(done.stderr, r"cut\.mp4 is cut off or damaged: it breaks off after frame \d+")
    assert material.check_results(tmp_path / "cut", status="damaged", least=10) < 40


def test_a_change_of_size_is_followed_with_a_warning(tmp_path: Path, weights: Path) -> None:
    parts = [
        material.write_video(
            tmp_path / f"{scale}.ts", [np.kron(material.image(), np.ones((scale, scale, 1), np.uint8))] * 6
        )
        for scale in (1, 2)
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    done = material.run(tmp_path / "joined.ts", "--weights", weights, "--output", tmp_path)
    assert done.returncode == 0
    material.check_sentence(done.stderr, r"joined changes size to 192x128 at frame 7")
    folder = tmp_path / "joined"
    assert material.check_results(folder, status="complete") == 12
    assert [len(line["tracks"]) for line in material.read_lines(folder)] == [2] * 12


def test_an_unreadable_image_is_skipped_and_keeps_its_number(tmp_path: Path, weights: Path) -> None:
    folder = material.write_images(tmp_path / "photos", [material.image()] * 5)
    (folder / "000003.png").write_bytes(b"not an image")
    done = material.run(folder, "--weights", weights, "--output", tmp_path / "out")
    assert done.returncode == 1
    material.check_sentence(done.stderr, r"000003\.png cannot be read; frame 3 is skipped")
    material.check_results(tmp_path / "out" / "photos", status="damaged")
    assert [line["frame"] for line in material.read_lines(tmp_path / "out" / "photos")] == [1, 2, 4, 5]


@pytest.mark.parametrize("length", ["999999999", "1e15"])
def test_a_length_that_no_sequence_has_is_told_and_ignored(tmp_path: Path, weights: Path, length: str) -> None:
    sequence = material.write_sequence(tmp_path / "seq", [material.PEOPLE] * 3)
    info = sequence / "seqinfo.ini"
    info.write_text(info.read_text().replace("seqLength=3", f"seqLength={length}"))
    done = material.run(sequence, "--weights", weights, "--output", tmp_path / "out", "--eval")
    assert done.returncode == 0
    material.check_sentence(done.stderr, r"seqinfo\.ini of seq states .* frames, more than any sequence has")
    assert material.check_results(tmp_path / "out" / "seq", status="complete") == 3


def test_a_photograph_is_a_source(tmp_path: Path, weights: Path) -> None:
    material.write_images(tmp_path, [material.image()])
    done = material.run(tmp_path / "000001.png", "--weights", weights, "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert material.check_results(tmp_path / "out" / "000001", status="complete") == 1


def test_a_full_disk_keeps_what_was_written(tmp_path: Path, weights: Path) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 400)
    limit = 20_000  # bytes a file may have, which the JSON lines reach first

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    small = ("--video-size", "32x24")
    done = material.run(clip, "--weights", weights, "--output", tmp_path, *small, preexec_fn=limit_files)
    assert done.returncode == 1
    material.check_sentence(done.stderr, r"tracks\.jsonl cannot be written \(file too large\)")
    folder = tmp_path / "clip"
    report = material.read_run(folder)
    assert (report["status"], report["frames"]) == ("failed", report["last_frame"])
    lines = material.read_lines(folder)
    assert len(lines) >= 50
    assert report["frames"] == len(lines)
    assert material.count_frames(folder / "tracked.mp4") == len(lines)


def test_packages_that_are_not_installed(tmp_path: Path) -> None:
    script = material.ROOT / "run_track.py"
    done = subprocess.run(  # -S: without site-packages
        [sys.executable, "-S", str(script), "demo"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    material.check_sentence(done.stderr, r"No module named '\w+'; `pip install -e \.` installs")
