"""Checkpoint loading: strict about keys, lenient only where official files need it."""

import random
import zipfile

import pytest
import torch

from fairmot.core.errors import ModelError
from fairmot.export.checkpoint import head_sizes, load_network, read_class_names, read_state_dict
from fairmot.export.networks import HeadSizes, build_network
from fairmot.export.networks.dla import DLASeg

HEADS = HeadSizes(embedding=8, hidden=4)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return build_network("res_18", HEADS).state_dict()


def saved(tmp_path, content):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"epoch": 30, "state_dict": w},
        lambda w: {"epoch": 30, "state_dict": {f"module.{k}": v for k, v in w.items()}, "optimizer": {"lr": 0.1}},
        lambda w: {"state_dict": {**w, "base.fc.weight": torch.zeros(2), "base.fc.bias": torch.zeros(2)}},
        lambda w: {"state_dict": {k: v for k, v in w.items() if "num_batches" not in k}},
    ],
    ids=["bare", "wrapped", "parallel", "classifier", "without counters"],
)
def test_forms_of_checkpoints(tmp_path, weights, wrap):
    name, network = load_network(saved(tmp_path, wrap(weights)))
    assert name == "res_18"
    assert network.head_sizes == HEADS
    assert not network.training
    assert torch.equal(network.state_dict()["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("layer2.0.bn1.bias"), "1 missing: layer2.0.bn1.bias"),
        (lambda w: w.update({"extra.weight": torch.zeros(1)}), "1 unexpected: extra.weight"),
        (lambda w: w.update({"bn1.weight": torch.zeros(3)}), r"bn1.weight \(3,\) instead of \(64,\)"),
        (lambda w: w.update({"fc.weight": torch.zeros(3)}), "1 unexpected: fc.weight"),
    ],
)
def test_every_difference_is_named(tmp_path, weights, change, message):
    changed = dict(weights)
    change(changed)
    with pytest.raises(ModelError, match=message):
        load_network(saved(tmp_path, changed), "res_18")


def test_wrong_architecture_names_the_right_one(tmp_path, weights):
    with pytest.raises(ModelError, match="It fits res_18: use --arch res_18"):
        load_network(saved(tmp_path, weights), "resdcn_18")


def test_channels_that_no_architecture_has(tmp_path):
    path = saved(tmp_path, DLASeg(HEADS, (8, 16, 32, 64, 128, 256)).state_dict())
    with pytest.raises(ModelError, match="fits no known architecture"):
        load_network(path)


def heads(sizes):
    """The weights of the heads of a network, without its features."""
    with torch.device("meta"):
        network = build_network("res_18", sizes)
    names = ("hm.", "wh.", "reg.", "id.")
    return {key: value for key, value in network.state_dict().items() if key.startswith(names)}


@pytest.mark.parametrize(
    ("sizes", "class_boxes"),
    [
        (HeadSizes(classes=80, box=2, embedding=0, hidden=64), None),
        (HeadSizes(classes=80, box=160, embedding=0, hidden=256, class_boxes=True), None),
        (HeadSizes(classes=80, box=320, embedding=0, hidden=256, class_boxes=True), None),
        (HeadSizes(classes=20, box=4, embedding=0, hidden=64, offset=False), None),
        (HeadSizes(classes=1, box=2, embedding=0, hidden=0, offset=False), None),
        (HeadSizes(classes=3, box=6, embedding=16, hidden=0, class_boxes=True), None),
        (HeadSizes(classes=1, box=2), None),  # of FairMOT before its boxes had four sides
        (HeadSizes(classes=5, embedding=64, hidden=64, box_hidden=32), None),  # of `fairmot train`
        (HeadSizes(classes=2, box=4), None),
        (HeadSizes(classes=2, box=8, embedding=0, class_boxes=True), None),
        (HeadSizes(classes=2, box=4, embedding=0, class_boxes=True), True),
        (HeadSizes(classes=2, box=4, class_boxes=True), True),
        (HeadSizes(classes=2, box=4, embedding=0), False),
        (HeadSizes(classes=1, box=4), True),
    ],
)
def test_sizes_of_the_heads(sizes, class_boxes):
    assert head_sizes(heads(sizes), class_boxes) == sizes


@pytest.mark.parametrize(
    ("sizes", "change", "class_boxes", "message"),
    [
        (
            HeadSizes(classes=2, embedding=0),
            {},
            None,
            "4 channels for 2 classes.*: give --boxes shared or --boxes per-",
        ),
        (HeadSizes(), {"wh.2.weight": (3, 256, 1, 1)}, None, "3 channels for 1 class; boxes have 2 .* 4 .*: check the"),
        (HeadSizes(classes=3), {"wh.2.weight": (5, 256, 1, 1)}, None, "wh head has 5 channels for 3 classes"),
        (HeadSizes(classes=3), {}, True, "wh head has 4 channels for 3 classes"),
        (HeadSizes(classes=3, box=6, class_boxes=True), {}, False, "wh head has 6 channels for 3 classes"),
        (
            HeadSizes(),
            {"kps.0.up1.0.conv1.weight": (256, 256, 3, 3)},
            None,
            "hourglass network; supported are dla_34, ",
        ),
        (
            HeadSizes(),
            {"hps.0.weight": (1,), "hm_hp.0.bias": (1,)},
            None,
            "has the heads hm_hp, hps, which are not for",
        ),
        (HeadSizes(hidden=0), {"wh.weight": (2,)}, None, r"CenterNet's: wh.weight has the shape \(2,\)"),
    ],
)
def test_heads_that_cannot_be_exported(sizes, change, class_boxes, message):
    weights = heads(sizes) | {key: torch.zeros(shape) for key, shape in change.items()}
    with pytest.raises(ModelError, match=message):
        head_sizes(weights, class_boxes)


def test_a_head_that_is_cut(weights):
    with pytest.raises(ModelError, match=r"it lacks reg\.0\.weight"):
        head_sizes({key: value for key, value in weights.items() if key != "reg.0.weight"})
    with pytest.raises(ModelError, match=r"neither FairMOT's nor CenterNet's: it lacks wh\.0\.weight, wh\.2\.weight"):
        head_sizes({key: value for key, value in weights.items() if not key.startswith("wh.")})


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint"),
        (b"some text\n", "not a checkpoint"),
        ({}, "holds no weights"),
        ({"state_dict": {"a": "text"}}, "holds no weights"),
        ([1, 2], "holds no weights"),
        ({"state_dict": Payload()}, "not a checkpoint that torch can load safely"),
        ({"weight": torch.zeros(1)}, "neither FairMOT's nor CenterNet's"),
    ],
)
def test_files_that_are_not_checkpoints(tmp_path, content, message, capsys):
    path = tmp_path / "model.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        load_network(path)
    assert "executed" not in capsys.readouterr().out


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="There is no checkpoint"):
        read_state_dict(tmp_path / "none.pth")


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_archives_that_grow_when_unpacked(tmp_path, weights):
    whole = saved(tmp_path, weights)
    with zipfile.ZipFile(whole) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    (pickle,) = [name for name in entries if name.endswith("data.pkl")]
    bomb = zipped(tmp_path / "bomb.pth", entries | {pickle: entries[pickle] + bytes(300_000_000)})
    with pytest.raises(ModelError, match="not a checkpoint"):
        load_network(bomb)


def test_truncated_and_damaged_files(tmp_path, weights):
    content, rng = saved(tmp_path, {"state_dict": weights}).read_bytes(), random.Random(1)
    path = tmp_path / "part.pth"
    for length in [1, 2, 4, 30, 1000, len(content) // 2, len(content) - 30, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelError):
            load_network(path)
    directory = content.rindex(b"PK\x01\x02") - 8000
    for _ in range(60):
        data = bytearray(content)
        for _ in range(rng.choice([1, 4, 16])):
            data[rng.choice([rng.randrange(3000), rng.randrange(directory, len(data))])] = rng.randrange(256)
        path.write_bytes(data)
        try:
            load_network(path)
        except ModelError as error:
            assert str(error).isprintable()  # noqa: PT017


def huge(*shape):
    """A tensor that claims sizes without the memory."""
    return torch.zeros(1).expand(shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hm.2.weight": huge(10**12, 4, 1, 1)}, "hm.2.weight has the shape"),
        ({"hm.0.weight": huge(10**12)}, "hm.0.weight has the shape"),
        ({"id.2.weight": huge(10**9, 4, 1, 1)}, "id.2.weight has the shape"),
        ({"wh.2.weight": torch.zeros(())}, r"wh.2.weight has the shape \(\)"),
        ({"hm.2.weight": torch.zeros(0, 4, 1, 1)}, "hm.2.weight has the shape"),
        ({"conv1.weight": huge(10**6, 10**6)}, "fits no known architecture"),
        ({"extra": huge(10**12)}, "fits no known architecture"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()}, "holds no weights"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.complex64)}, "holds no weights"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7, device="meta")}, "holds no weights"),
        ({"conv1.weight": 3.0}, "holds no weights"),
        ({"conv1.weight": {"a": {"b": torch.zeros(1)}}}, "holds no weights"),
        ({"conv1.weight": None}, "holds no weights"),
        ({"\x1b[31m\n" + "x" * 10_000: torch.zeros(1)}, "fits no known architecture"),
    ],
)
def test_weights_of_other_kinds(tmp_path, weights, change, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(saved(tmp_path, {**weights, **change}))
    assert str(caught.value).isprintable()


def test_keys_are_shown_on_one_line(tmp_path, weights):
    path = saved(tmp_path, {**weights, "\x1b[31m\n" + "x" * 10_000: torch.zeros(1)})
    with pytest.raises(ModelError, match=r"1 unexpected: \\x1b\[31m x+\.\.\.") as caught:
        load_network(path, "res_18")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("names", [5, "person", {"a": 1}, [1], ["a\x1b[2J"], ["a\nb"], ["x" * 1000], ["a"] * 20_000])
def test_class_names_that_are_none(tmp_path, weights, names):
    path = saved(tmp_path, {"state_dict": weights, "class_names": names})
    with pytest.raises(ModelError, match=r"its class_names should be .*: name the classes with --classes"):
        read_class_names(path)


def test_class_names(tmp_path, weights):
    assert read_class_names(saved(tmp_path, {"state_dict": weights, "class_names": ["a", "b"]})) == ["a", "b"]
    assert read_class_names(saved(tmp_path, {"state_dict": weights, "class_names": ()})) == []
    assert read_class_names(saved(tmp_path, weights)) == []
