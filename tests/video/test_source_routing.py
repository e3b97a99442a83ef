"""The source that a text names: paths before cameras and the built-in scene, and what is no source at all."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from support import clip_files as clips

from fairmot.app.report import location_of
from fairmot.core import SourceError
from fairmot.video import expand_sources, open_source
from fairmot.video.images import ImageSource
from fairmot.video.sources import names_path
from fairmot.video.synthetic.demo import DemoSource
from fairmot.video.video_source import VideoSource


def write_images(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        assert cv2.imwrite(str(folder / f"{number:06d}.png"), clips.flat(number, (24, 16)))
    return folder


def write_sequence(folder: Path, count: int = 2) -> Path:
    write_images(folder / "img1", count)
    return folder


def open_all(spec: str) -> None:
    """Open a source as the command does."""
    for each in expand_sources(spec):
        open_source(each).close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_of_sequences_expand(tmp_path: Path) -> None:
    root = tmp_path / "MOT17"
    for name in ("train/MOT17-10", "train/MOT17-2", "test/MOT17-01"):
        write_sequence(root / name)
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


WORDS = ["0", "0000", "12", "demo", "demo?x", "demo?people=3"]


@pytest.mark.parametrize("name", WORDS)
def test_a_path_goes_before_a_camera_and_the_scene(here: Path, name: str) -> None:
    write_images(here / name)
    assert expand_sources(name) == [name]
    for spec in (name, f"./{name}", str(here / name), f"{name}/"):
        with open_source(spec) as source:
            assert isinstance(source, ImageSource)
            assert source.frame_count == 2
    assert location_of(name) == location_of(f"./{name}") == str(here / name)


@pytest.mark.parametrize("name", WORDS)
def test_a_file_goes_before_a_camera_and_the_scene(here: Path, name: str) -> None:
    clips.write_video(here / "clip.mp4", [clips.flat(number) for number in range(3)])
    (here / "clip.mp4").rename(here / name)
    with open_source(name) as source:
        assert isinstance(source, VideoSource)


@pytest.mark.parametrize("name", WORDS)
def test_sequences_of_any_name_in_a_folder(here: Path, name: str) -> None:
    write_sequence(here / name)
    write_sequence(here / "7")
    specs = expand_sources(".")
    assert sorted(map(os.path.realpath, specs)) == sorted([str(here / name), str(here / "7")])
    for spec in specs:
        with open_source(spec) as source:
            assert isinstance(source, ImageSource)
            assert location_of(spec) == os.path.realpath(spec)


@pytest.mark.parametrize("pattern", ["*", "[0-9d]*", "./*", "**"])
@pytest.mark.parametrize("name", WORDS)
def test_matches_are_paths(here: Path, name: str, pattern: str) -> None:
    write_images(here / name)
    specs = [spec for spec in expand_sources(pattern) if os.path.isdir(spec)]
    assert [os.path.normpath(spec) for spec in specs] == [name]
    with open_source(specs[0]) as source:
        assert isinstance(source, ImageSource)


def test_words_that_name_nothing_here(here: Path) -> None:
    with open_source("demo?frames=2&size=64x64") as source:
        assert isinstance(source, DemoSource)
    for spec in ("4711", "0004711"):
        with pytest.raises(SourceError, match=r"^There is no camera 4711; "):
            open_source(spec)
    for spec in ("9" * 30, "9" * 200):
        with pytest.raises(SourceError, match=r"^There is no file or folder 999"):
            open_source(spec)


def test_results_of_the_scene_do_not_hide_it(here: Path) -> None:
    (here / "demo").mkdir()
    (here / "demo" / "run.json").write_text("{}")
    assert not names_path("demo")
    assert location_of("demo") == "demo"
    with open_source("demo") as source:
        assert isinstance(source, DemoSource)
    write_sequence(here / "demo" / "0001")
    assert expand_sources("demo") == ["demo/0001"]


def test_hidden_folders_and_files_are_no_sources(here: Path) -> None:
    for name in ("a", ".a", "__MACOSX/a", ".git/a", "._a"):
        write_sequence(here / "set" / name)
    assert expand_sources("set") == ["set/a"]
    assert expand_sources(".") == ["set/a"]
    for name in ("b.mp4", ".b.mp4", "._b.mp4", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (here / "clips").mkdir(exist_ok=True)
        (here / "clips" / name).touch()
    assert expand_sources("clips/*") == ["clips/b.mp4"]
    assert expand_sources("**/*.mp4") == ["clips/b.mp4"]
    (here / "clips" / "b.mp4").unlink()
    with pytest.raises(SourceError, match=r"^Nothing matches clips/\*; check"):
        expand_sources("clips/*")


@pytest.mark.parametrize("spec", ["", " ", "\t", "\n  "])
def test_nothing_is_not_the_current_folder(here: Path, spec: str) -> None:
    write_images(here)
    for take in (open_source, expand_sources):
        with pytest.raises(SourceError, match=r"^A source is empty; name a file"):
            take(spec)
    with open_source(".") as source:
        assert source.frame_count == 2


@pytest.mark.parametrize("name", [" ", "\t", "\n  "])
def test_a_folder_whose_name_is_blank_is_a_source(here: Path, name: str) -> None:
    (here / name).mkdir()
    write_images(here / name)
    with open_source(name) as source:
        assert source.frame_count == 2


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a\0b", r"^The source 'a\\x00b' holds a null character"),
        ("\0", r"holds a null character"),
        ("http://host/\0", r"holds a null character"),
        ("\ud800.mp4", r"is not valid text"),
        (LONG, r"^The path x{200}\.\.\. is too long for this system"),
        (f"{'a/' * 5000}b.mp4", r"is too long for this system"),
        (f"{LONG}*", r"^Nothing matches x{200}\.\.\."),
        ("x" * 255, r"^There is no file or folder x{200}\.\.\.; check the path\.$"),
        ("holiday.mp4", r'^There is no file or folder holiday\.mp4; check the path\. Did you mean "holyday\.mp4"\?$'),
        ("holyday.mp4/", r"There is no file or folder"),
        ("holyday.mp4/a.mp4", r"There is no file or folder"),
        ("nowhere/a.mp4", r"There is no file or folder"),
    ],
    ids=range(12),
)
def test_texts_that_name_no_path(here: Path, spec: str, message: str) -> None:
    (here / "holyday.mp4").touch()
    with pytest.raises(SourceError, match=message) as caught:
        open_all(spec)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("spec", [LONG, "a\0b", "\ud800", f"http://host/{LONG}", "loop"])
def test_location_of_what_is_no_path(here: Path, spec: str) -> None:
    (here / "loop").symlink_to("loop")
    assert location_of(spec) in (spec, str(here / "loop"))


def dangling(folder: Path) -> str:
    (folder / "clip.mp4").symlink_to("gone/clip.mp4")
    return "clip.mp4"


def dangling_folder(folder: Path) -> str:
    (folder / "0").symlink_to("/gone")
    return "0"


def below_a_dangling_folder(folder: Path) -> str:
    (folder / "data").symlink_to("/gone")
    return "data/walk/clip.mp4"


def circle(folder: Path) -> str:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    return "a"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "a.mp4")
    return "a.mp4"


def pipe_like_an_image(folder: Path) -> str:
    os.mkfifo(folder / "a.png")
    return "a.png"


def unix_socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.mp4")
    return "a.mp4"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (dangling, r"^clip\.mp4 is a symbolic link to gone/clip\.mp4, which does not exist; repair the link, or"),
        (dangling_folder, r"^0 is a symbolic link to /gone, which does not exist"),
        (below_a_dangling_folder, r"^data is a symbolic link to /gone, which does not exist"),
        (circle, r"^a is a symbolic link that leads back to itself"),
        (pipe, r"^a\.mp4 is a named pipe; give a video file"),
        (pipe_like_an_image, r"^a\.png is a named pipe; give"),
        (unix_socket, r"^a\.mp4 is a socket; give"),
        (lambda folder: "/dev/null", r"^/dev/null is a device that is no camera; give"),
        (lambda folder: "/dev/zero", r"^/dev/zero is a device that is no camera; give"),
    ],
    ids=[
        *("dangling", "dangling-folder", "below-dangling", "circle", "pipe", "image-pipe", "socket", "null", "zero"),
    ],
)
def test_files_that_are_none(here: Path, make: Callable[[Path], str], message: str) -> None:
    spec = make(here)
    began = time.perf_counter()
    for given in (spec, *(["*.mp4"] if spec == "clip.mp4" else [])):
        with pytest.raises(SourceError, match=message) as caught:
            open_all(given)
        assert "Did you mean" not in str(caught.value)
    assert time.perf_counter() - began < 5


def test_a_block_device(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "disk").touch()
    real = os.stat
    fields = list(real("disk"))
    fields[0] = stat.S_IFBLK | 0o600
    monkeypatch.setattr(
        os, "stat", lambda path, **more: os.stat_result(fields) if path == "disk" else real(path, **more)
    )
    with pytest.raises(SourceError, match=r"^disk is a block device; give"):
        open_source("disk")


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of our own, where root does not have root's rights for the length of a test."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        if os.getuid() == 0:
            os.seteuid(0)
        for path in folder.iterdir():
            path.chmod(0o755)


def drop_rights() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_a_folder_that_may_not_be_read(as_nobody: Path, mode: int) -> None:
    folder = write_images(as_nobody / "walk")
    folder.chmod(mode)
    drop_rights()
    with pytest.raises(SourceError, match=r"walk(/img1)? (cannot|can) be read.*[Pp]ermission denied\.$"):
        open_all(str(folder))


@pytest.mark.parametrize("name", ["000001.png", "clip.mp4", "img1"])
def test_a_path_below_a_folder_that_may_not_be_read(as_nobody: Path, name: str) -> None:
    folder = write_images(as_nobody / "walk")
    folder.chmod(0o000)
    drop_rights()
    with pytest.raises(SourceError, match=rf"{name} cannot be reached \(permission denied\); check the permissions"):
        open_all(str(folder / name))


def test_an_image_that_may_not_be_read(as_nobody: Path) -> None:
    folder = write_images(as_nobody / "walk")
    (folder / "000001.png").chmod(0o000)
    drop_rights()
    with pytest.raises(SourceError, match=r"000001\.png cannot be read \(permission denied\)\.$"):
        open_source(str(folder / "000001.png"))
    with open_source(str(folder)) as source:
        assert [frame.index for frame in source] == [2]
    assert source.damaged is not None
