"""What writers of `seqinfo.ini` do to it, and what must not be believed."""

from __future__ import annotations

import configparser
import io
import re
from pathlib import Path

import pytest

from fairmot.core import SourceError
from fairmot.core.sequence_info import MOST_FRAMES, SequenceInfo, read_sequence_info

PLAIN = "[Sequence]\nname=walk\nimDir=img1\nframeRate=12.5\nseqLength=30\nimWidth=64\nimHeight=48\nimExt=.jpg\n"
FACTS = SequenceInfo("walk", 12.5, 30, "img1", ".jpg")


def read(folder: Path, content: str | bytes) -> SequenceInfo:
    path = folder / "seqinfo.ini"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_sequence_info(path)


def written_by_configparser() -> str:
    parser = configparser.ConfigParser()
    parser.read_string(PLAIN)
    text = io.StringIO()
    parser.write(text)
    assert "framerate = 12.5" in text.getvalue()
    return text.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        written_by_configparser(),
        PLAIN.upper().replace("IMG1", "img1").replace("WALK", "walk"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("=", " = ").replace("\n", "  \n\n"),
        PLAIN.replace("=", ": "),
        PLAIN.replace("\n", "\n\t  "),
        PLAIN.replace(".jpg", "jpg"),
        PLAIN.replace("12.5", "12.5 ; frames per second").replace("30", "30 # all"),
        "; of a benchmark\n# from 2016\n" + PLAIN,
        "[Other]\nframeRate=7\n" + PLAIN,
        PLAIN.replace("frameRate", "frameRate=99\nframeRate"),
        PLAIN + "[Sequence]\nseqLength=30\n",
        PLAIN.replace("30", "30.0"),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    ],
    ids=range(18),
)
def test_the_same_facts_however_written(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content) == FACTS


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("[Sequence]\nname=Straße\n".encode(), "Straße"),
        ("[Sequence]\nname=Straße\n".encode("latin-1"), "Straße"),
        ("[Sequence]\nname=100%(x)s\n", "100%(x)s"),
        ("[Sequence]\nname=\n", None),
        ("[Sequence]\n", None),
    ],
)
def test_name(tmp_path: Path, content: str | bytes, name: str | None) -> None:
    assert read(tmp_path, content).name == name


@pytest.mark.parametrize("value", ["999999999", "1e12", "1e300", str(MOST_FRAMES + 1)])
def test_a_length_that_no_sequence_has_is_kept_apart(tmp_path: Path, value: str) -> None:
    info = read(tmp_path, f"[Sequence]\nseqLength={value}\n")
    assert (info.length, info.stated_length) == (None, int(float(value)))
    assert read(tmp_path, f"[Sequence]\nseqLength={MOST_FRAMES}\n").length == MOST_FRAMES


@pytest.mark.parametrize("key", ["frameRate", "seqLength"])
@pytest.mark.parametrize("value", ["", "fast", "0", "-5", "nan", "inf", "-inf", "1e400", "30,0", "2" * 500 + "x"])
def test_numbers_that_are_none(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(SourceError, match=f"seqinfo.ini: {key} must be a number above 0, not '{value[:40]}") as caught:
        read(tmp_path, f"[Sequence]\n{key}={value}\n")
    assert len(str(caught.value)) < len(str(tmp_path)) + 120


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("frameRate=1e-300", "frameRate must be between 0.01 and 10000, not '1e-300'."),
        ("frameRate=99999", "frameRate must be between 0.01 and 10000, not '99999'."),
        ("seqLength=1.5", "seqLength must be a whole number, not 1.5."),
    ],
)
def test_numbers_out_of_range(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=re.escape(sentence)):
        read(tmp_path, f"[Sequence]\n{text}\n")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "name=walk\n",
        "[Other]\nname=walk\n",
        "[Sequence]\nnonsense without a value\n",
        bytes(range(1, 256)),
        PLAIN.encode("utf-16-le"),  # without the mark that tells it
        b"[Sequence]\nname=a\0b\n",
        b"[Sequence]\nname=" + b"x" * 100_000,
    ],
    ids=range(8),
)
def test_no_description(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(SourceError, match=r"seqinfo\.ini is not a sequence description; it must") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Cannot read .*: No such file"):
        read_sequence_info(tmp_path / "seqinfo.ini")
