"""YAML files that are damaged, too large or made to explode: one error each, at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fairmot.core.errors import ConfigError
from fairmot.core.yaml_files import load_yaml, read_yaml, require_bounds

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGES = "a0: &a0 {k: 1, l: 2}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 900))

BOMBS = {
    "aliases of aliases": (LAUGHS, "it holds more than 10000 values"),
    "merges of merges": (MERGES, "it holds more than 10000 values"),
    "chain of aliases": (CHAIN, "it holds more than 10000 values"),
    "alias of its own list": ("a: &a [*a]", 'the alias "a" contains itself (line 1)'),
    "alias of its own mapping": ("a: &a\n  b: *a", 'the alias "a" contains itself (line 2)'),
    "nested lists": ("a: " + "[" * 5000 + "]" * 5000, "it nests more than 32 levels deep (line 1)"),
    "lists without ends": ("a: " + "[" * 500_000, "it nests more than 32 levels deep"),
    "nested mappings": ("a: " + "{b: " * 5000 + "}" * 5000, "it nests more than 32 levels deep"),
    "nested blocks": ("\n".join(" " * i + "a:" for i in range(500)), "it nests more than 32 levels deep (line 32)"),
    "nested sequences": ("- " * 5000 + "x", "it nests more than 32 levels deep"),
    "long list": ("a: [" + "1," * 400_000 + "]", "it holds more than 10000 values"),
    "long file": ("a: [" + "1," * 10_000_000 + "]", "has more than 1000 kB"),
    "long comment": ("#" * 1_000_001, "has more than 1000 kB"),
    "long number": ("a: " + "9" * 5000, "a number has 5000 digits (line 1)"),
    "long hexadecimal number": ("a: 0x" + "f" * 5000, "a number has 5002 digits"),
    "long number of minutes": ("a: 1" + ":1" * 3000, "a number has 6001 digits"),
}
FAULTS = {
    "key twice": ("a: 1\nb: 2\na: 3\n", 'the key "a" stands twice; leave one out (line 3)'),
    "key twice within": ("a: {b: 1, b: 1}", 'the key "b" stands twice'),
    "tab": ("a:\n\t- b", "is not YAML (line 2)"),
    "tag of Python": ("a: !!python/object/apply:os.system [ls]", "is not YAML (line 1)"),
    "unknown tag": ("a: !mine 3", "is not YAML (line 1)"),
    "list as a key": ("? [a, b]\n: 3", "is not YAML (line 1)"),
    "two documents": ("a: 1\n---\na: 2", "is not YAML (line 2)"),
    "unknown alias": ("a: *b", "is not YAML (line 1)"),
    "broken list": ("a: [1,", "is not YAML (line 1)"),
    "impossible date": ("a: 2026-13-45", "is not YAML"),
    "broken base64": ("a: !!binary z", "is not YAML (line 1)"),
    "null character": ("a: \x00", "is not YAML"),
    "escape character": ("a: \x1b[31m", "is not YAML"),
}


@pytest.mark.parametrize(("text", "message"), [*BOMBS.values(), *FAULTS.values()], ids=[*BOMBS, *FAULTS])
def test_one_sentence_at_once(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    started = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        read_yaml(str(path), "good.yaml")
    assert time.perf_counter() - started < 5
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    "data",
    ["a: é".encode("latin-1"), "a: b".encode("utf-16"), b"\xff\xfe\x00", bytes(range(256))],
    ids=["latin-1", "utf-16", "bytes", "all bytes"],
)
def test_text_that_is_not_utf8(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"is not YAML; compare it with good\.yaml\."):
        read_yaml(str(tmp_path / "a.yaml"), "good.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(str(path), "good.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("3", 3),
        ("\ufeffa: 1", {"a": 1}),
        ("a: &b [1, 2]\nc: *b", {"a": [1, 2], "c": [1, 2]}),
        ("a: &a {b: 1}\nc: {<<: *a, b: 2}", {"a": {"b": 1}, "c": {"b": 2}}),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
        ("a: " + "[" * 30 + "]" * 30, None),
        ("a: " + "x" * 500_000, None),
    ],
)
def test_ordinary_yaml_is_read(text: str, value: object) -> None:
    loaded = load_yaml(text)
    if value is not None or not text:
        assert loaded == value


def test_values_of_options_are_bounded_too() -> None:
    for text in ("576x320", "a: b: c", "[1, 2", "rtsp://host/a?b=*c", ""):
        require_bounds("size", text)
    with pytest.raises(ConfigError, match=r"^size cannot be read: it nests more than 32 levels deep\.$"):
        require_bounds("size", "[" * 100)
