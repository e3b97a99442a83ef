"""The table of `benchmarks/architectures.py`, from measurements of several processes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from benchmarks.architectures import EAGER_CPU, GRAPH, NVIDIAS, ONNX_RUNTIME, OURS, Benchmark, Measurement, main


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["architectures", *words])
    return main()


def test_table_of_what_was_measured(tmp_path, monkeypatch, capsys):
    benchmark = Benchmark(SimpleNamespace(folder=tmp_path, networks=[], precisions=[], runs=1))
    for way, batch, milliseconds, error in (
        (OURS, 1, 9.0, None),  # measured again below
        (OURS, 1, 0.5, 1e-3),
        (NVIDIAS, 1, 1.0, None),
        (OURS, 8, 2.0, None),
        (GRAPH, 8, 5.0, None),
    ):
        benchmark.write(Measurement("dla_34", "fp16", way, batch, milliseconds, "card", way, 0.0, error))
    benchmark.write(Measurement("dla_34", "fp32", ONNX_RUNTIME, 1, 100.0, "2 threads", "version"))
    benchmark.write(Measurement("dla_34", "fp32", EAGER_CPU, 1, 131.0, "2 threads", "version", ratio=1.3))
    capsys.readouterr()
    assert run(monkeypatch, str(tmp_path), "--parts", "table") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("| dla_34")] == [
        "| dla_34 | 1 | 0.500 | 1.000 |  | 2000 | 2.00 |  | 1.0e-03 |",
        "| dla_34 | 8 | 2.000 |  | 5.000 | 4000 |  | 2.50 |  |",
        "| dla_34 | 100.0 | 131.0 | 1.30 |",
    ]
    assert not any("FP32" in line for line in lines)


def test_unknown_parts_and_networks_are_refused(tmp_path, monkeypatch, capsys):
    for words in (("--parts", "tables"), ("--parts", "table", "--networks", "dla_35")):
        with pytest.raises(SystemExit) as stopped:
            run(monkeypatch, str(tmp_path), *words)
        assert stopped.value.code == 2
        assert "must be some of" in capsys.readouterr().err
