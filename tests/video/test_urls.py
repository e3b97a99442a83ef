from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import clip_files as clips

from fairmot.core import SourceError
from fairmot.core.text import without_credentials
from fairmot.video import open_source
from fairmot.video.urls import PROTOCOLS, checked_url, host_of_url, is_url, name_of_url
from fairmot.video.video_source import VideoSource

# What must never be shown is spelled with "w0rd" or "s3cret" in each.
SHOWN = [
    ("http://host/a.mp4", "http://host/a.mp4"),
    ("HTTP://Host:80/a.mp4", "http://Host:80/a.mp4"),
    ("rtsp://u:w0rd@host:554/cam", "rtsp://host:554/cam"),
    ("rtsp://u@host/cam", "rtsp://host/cam"),
    ("rtsp://:w0rd@host/cam", "rtsp://host/cam"),
    ("rtsp://u:w0rd@[::1]:8554/cam", "rtsp://[::1]:8554/cam"),
    ("rtsp://u:w0rd@[::1/cam", "rtsp://[::1/cam"),
    ("rtsp://u:p@w0rd@host/cam", "rtsp://host/cam"),
    ("rtsp://admin:p@ss/w0rd@127.0.0.1:1/cam", "rtsp://127.0.0.1:1/cam"),
    ("rtsp://u:w0rd/x@host/cam", "rtsp://host/cam"),
    ("rtsp://u:w0rd/w0rd/w0rd@host/cam", "rtsp://host/cam"),
    ("rtsp://u:w0rd?x@host/cam", "rtsp://host/cam"),
    ("rtsp://u:w0rd#x@host/cam", "rtsp://host/cam"),
    ("rtsp://u:p#w0rd?s3cret/@w0rd@host/cam", "rtsp://host/cam"),
    ("rtsp://u:p%40w0rd%2F@host/cam", "rtsp://host/cam"),
    ("rtsp://u:w0rd%@host/cam", "rtsp://host/cam"),
    ("rtsp://u:[w0rd]@host/cam", "rtsp://host/cam"),
    ("rtsp://u:w0rd:s3cret@host/cam", "rtsp://host/cam"),
    ("rtsp://u:12/w0rd@host/cam", "rtsp://u"),  # or a port and a path; neither is shown
    ("http://host:80/a@b/c.mp4", "http://host"),
    ("http://[::1]:80/a@b/c.mp4", "http://[::1]:80/a@b/c.mp4"),
    ("http://host/a@b/c.mp4", "http://host/a@b/c.mp4"),
    ("http://host/?mail=a@b", "http://host/"),
    ("rtsp://u:w0rd", "rtsp://u"),
    ("http://host/a.mp4?token=s3cret&x=1", "http://host/a.mp4"),
    ("http://host?token=s3cret", "http://host"),
    ("http://host/a.mp4#s3cret", "http://host/a.mp4"),
    ("rtsp://host:554/user=admin&password=w0rd&channel=1.sdp", "rtsp://host:554/"),
    ("rtsp://host/live/user=admin_password=w0rd_channel=1.sdp/more", "rtsp://host/live/"),
    ("http://host/live/token=s3cret/index.m3u8", "http://host/live/"),
    ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ("rtsp://host/\x1b[31mred\n", "rtsp://host/?[31mred?"),
]


@pytest.mark.parametrize(("url", "expected"), SHOWN)
def test_what_is_shown_of_a_url(url: str, expected: str) -> None:
    assert without_credentials(url) == expected


@pytest.mark.parametrize("url", [url for url, _ in SHOWN])
def test_neither_name_nor_label_nor_refusal_holds_a_password(url: str) -> None:
    texts = [without_credentials(url), name_of_url(url)]
    try:
        checked_url(url)
    except SourceError as error:
        texts.append(str(error))
    for text in texts:
        assert "w0rd" not in text
        assert "s3cret" not in text
        assert text.isprintable()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://host/a/clip.mp4?x=1", "clip"),
        ("http://host/my%20clip.v2.mp4", "my clip.v2"),
        ("http://host/live/", "live"),
        ("rtsp://u:p@10.0.0.7:554", "10.0.0.7"),
        ("rtsp://u:p@[fe80::1]:554/", "fe80::1"),
        ("udp://@:1234", "stream"),
        ("rtsp://admin:p@ss/w0rd@127.0.0.1:1/cam", "cam"),
        ("rtsp://u:p@[::1/", "stream"),
        ("http://host/.hidden", "hidden"),
    ],
)
def test_names(url: str, name: str) -> None:
    assert name_of_url(url) == name


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("rtsp://u:p@[::1/cam", r'the "\]" after its IPv6 address is missing'),
        ("rtsp://[::1/cam", r'the "\]" after its IPv6 address is missing'),
        ("rtsp://::1]/cam", "its host or port is malformed"),
        ("rtsp://[::1]x/cam", "its host or port is malformed"),
        ("rtsp://host:99999/cam", "its host or port is malformed"),
        ("rtsp://host:abc/cam", "its host or port is malformed"),
        ("rtsp://u:pa/ss@host/cam", "its host or port is malformed; write"),
        ("rtsp:///cam", "it names no host"),
        ("http://", "it names no host"),
        ("http://?x", "it names no host"),
        ("rtsp://:554/cam", "it names no host"),
        ("nonsense://host/a", 'the scheme "nonsense" is not supported; use one of file, http'),
        ("concat://a|b", "not supported"),
        ("crypto://a", "not supported"),
        ("data://text/plain;base64,AAAA", "not supported"),
        ("subfile://a", "not supported"),
        ("ftp://host/a.mp4", "not supported"),
        ("pipe://0", "not supported"),
        ("lavfi://testsrc", "not supported"),
    ],
)
def test_urls_that_are_refused(url: str, part: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=part) as caught:
        open_source(url)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("RTSP://u:p@Host:554/Cam?x=1#y", "rtsp://u:p@Host:554/Cam?x=1#y"),
        ("http://host:/a", "http://host:/a"),
        ("udp://@:1234", "udp://@:1234"),
        ("tcp://:1234?listen=1", "tcp://:1234?listen=1"),
        ("srt://:9000?mode=listener", "srt://:9000?mode=listener"),
        ("rtsp://u:p%40%2f@[::1]:8554/cam", "rtsp://u:p%40%2f@[::1]:8554/cam"),
    ],
)
def test_urls_are_left_as_they_are(url: str, expected: str) -> None:
    assert checked_url(url) == expected


@pytest.mark.parametrize("text", ["C:/a.mp4", "a.mp4", "./http://x", "://x", "1http://x", "http:/x", ""])
def test_what_is_no_url(text: str) -> None:
    assert not is_url(text)


@pytest.mark.parametrize("protocols", PROTOCOLS.values())
def test_no_url_opens_files(protocols: str) -> None:
    assert not {"file", "concat", "subfile", "pipe", "fd", "cache", "async"} & set(protocols.split(","))


@pytest.mark.parametrize(
    ("url", "host"),
    [("rtsp://u:p@host:1/x", "host"), ("rtsp://host/a@b", "host"), ("rtsp://admin:p@ss/w0rd@host/cam", None)],
)
def test_a_host_that_may_be_a_part_of_the_password_is_not_named(url: str, host: str | None) -> None:
    assert host_of_url(url) == host


def test_an_unknown_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"the host name camera\.invalid cannot be resolved") as caught:
        open_source("rtsp://u:w0rd@camera.invalid/cam?s3cret")
    assert "w0rd" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp", "tcp"])
def test_a_port_where_nothing_listens(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceError, match=rf"{scheme}://127\.0\.0\.1:{port}/x cannot be opened: connection refused"):
        open_source(f"{scheme}://u:w0rd@127.0.0.1:{port}/x?s3cret")


def test_a_password_that_needs_encoding_gets_advice() -> None:
    with pytest.raises(SourceError, match="as %2F, %40") as caught:
        open_source("rtsp://admin:p@localhost/w0rd@127.0.0.1:1/cam")
    assert "w0rd" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, tuple[int, dict[str, str], bytes]]]]:
    """A server that answers a path with a status, headers and a body."""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers.get(self.path.partition("?")[0], (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Keep requests off the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{running.server_port}", answers
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "headers", "part"),
    [
        (401, {"WWW-Authenticate": 'Basic realm="x"'}, r"asks for a user name and password.*\(401\)"),
        (403, {}, r"refuses access \(403\)"),
        (404, {}, r"nothing at this path \(404\)"),
        (410, {}, "4XX|410|4xx"),
        (500, {}, "5XX|500|5xx"),
        (503, {}, "5XX|503|5xx"),
    ],
)
def test_what_a_server_refuses(
    server: tuple[str, dict[str, tuple[int, dict[str, str], bytes]]], status: int, headers: dict[str, str], part: str
) -> None:
    place, answers = server
    answers["/a.mp4"] = (status, headers, b"")
    with pytest.raises(SourceError, match=part) as caught:
        open_source(f"http://u:w0rd@{place}/a.mp4?s3cret")
    assert "w0rd" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_playlist_over_http_opens_what_is_there_and_no_file(
    server: tuple[str, dict[str, tuple[int, dict[str, str], bytes]]], tmp_path: Path
) -> None:
    place, answers = server
    clip = clips.write_noise_video(tmp_path / "a.ts", 20)
    answers["/seg.ts"] = (200, {"Content-Type": "video/mp2t"}, clip.read_bytes())

    def playlist(entry: str) -> str:
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{entry}\n#EXT-X-ENDLIST\n"
        answers["/list.m3u8"] = (200, {"Content-Type": "application/vnd.apple.mpegurl"}, text.encode())
        return f"http://{place}/list.m3u8"

    with open_source(playlist("seg.ts")) as source:
        assert len(list(source)) == 20
        assert source.name == "list"
    for entry in (f"file://{clip}", f"file:{clip}", str(clip), f"concat:{clip}", f"subfile,,start,0,end,0,,:{clip}"):
        with pytest.raises(SourceError, match=r"list\.m3u8 cannot be opened"):
            open_source(playlist(entry))


@pytest.mark.parametrize("target", [lambda clip: f"file://{clip}", lambda clip: f"concat:{clip}"])
def test_a_redirection_to_a_file_is_not_followed(
    server: tuple[str, dict[str, tuple[int, dict[str, str], bytes]]], tmp_path: Path, target: Callable[[Path], str]
) -> None:
    place, answers = server
    answers["/a.mp4"] = (302, {"Location": target(clips.write_noise_video(tmp_path / "a.ts", 20))}, b"")
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source(f"http://{place}/a.mp4")


@pytest.mark.parametrize("make", ["file://{}", "FILE://{}", "file://localhost{}"])
@pytest.mark.parametrize("name", ["clip.mp4", "my clip %41#1?.mp4"])
def test_file_urls_are_files(tmp_path: Path, make: str, name: str) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 5).rename(tmp_path / name)
    for url in {
        make.format(path),
        make.format(path).replace("%", "%25").replace(" ", "%20").replace("#", "%23").replace("?", "%3F"),
    }:
        with open_source(url) as source:
            assert (len(list(source)), source.is_live, source.frame_count) == (5, False, 5)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("file:///none/a.mp4", "There is no file /none/a.mp4"),
        ("file://", "There is no file|is a folder"),
        ("file:///tmp", "is a folder"),
        ("file://server/share/a.mp4", "another machine"),
        ("file:///none/%00.mp4", "There is no file"),
    ],
)
def test_file_urls_that_name_no_file(url: str, part: str) -> None:
    with pytest.raises(SourceError, match=part):
        VideoSource(url)


def test_a_cut_file_behind_a_file_url_is_told(tmp_path: Path) -> None:
    path = clips.write_noise_video(tmp_path / "a.mp4", 40, muxer={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(f"file://{path}") as source:
        list(source)
    assert "cut off" in (source.damaged or "")


def test_a_protocol_that_is_not_built_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "nonsense", "nonsense")
    with pytest.raises(SourceError, match="is built without nonsense"):
        open_source("nonsense://127.0.0.1:1/a")
