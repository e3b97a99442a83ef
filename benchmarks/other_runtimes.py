"""Every architecture for other runtimes and back: `python -m benchmarks.other_runtimes`.

For each architecture x dialect x layout: exported with lively random weights, adopted by `fairmot adopt`, and compared
with PyTorch in ONNX Runtime, largest error relative to max(1, |value|). The layout concat has CenterNet's heads,
separate FairMOT's.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from fairmot.engine.graph.dialects.names import Dialect
from fairmot.export.architectures import OutputLayout
from fairmot.export.foreign.adopt import Choices, adopt
from fairmot.export.layouts import trace_layout, write_old
from fairmot.export.networks import ARCHITECTURES, HeadSizes, Network, build_network
from fairmot.export.networks.deform_conv import DeformConv2d
from fairmot.export.onnx_model import save
from fairmot.export.verify import verify
from fairmot.video.synthetic.scene import Scene

SIZE = (128, 96)
HEADS = {
    "concat": HeadSizes(classes=3, box=2, embedding=0, hidden=16),
    "separate": HeadSizes(classes=1, box=4, embedding=16, hidden=16),
}


def lively(name: str, heads: HeadSizes) -> Network:
    """Return a network whose deformable layers move by pixels and whose heads differ from cell to cell."""
    torch.manual_seed(0)
    network = build_network(name, heads).eval()
    for module in network.modules():
        if isinstance(module, DeformConv2d):
            nn.init.normal_(module.conv_offset_mask.weight, std=0.02)
            nn.init.normal_(module.conv_offset_mask.bias, std=0.5)
    for head in ("hm", "wh", "reg", *(["id"] if heads.embedding else [])):
        nn.init.normal_(network.output_layer(head).weight, std=0.5)
    return network


def main() -> None:
    """Print one row per architecture and layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=list(ARCHITECTURES))
    names = parser.parse_args().architectures
    dialects: tuple[Dialect, ...] = get_args(Dialect)
    layouts: tuple[OutputLayout, ...] = get_args(OutputLayout)
    image = Scene().render(60)
    print(f"| architecture | layout | {' | '.join(dialects)} |\n|---|---|{'---|' * len(dialects)}")
    for name in names:
        for layout in layouts:
            network = lively(name, HEADS[layout])
            traced = trace_layout(network, layout)
            cells = []
            for dialect in dialects:
                with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
                    old, new = (Path(folder) / f"{each}.onnx" for each in ("old", "new"))
                    save(write_old(traced, SIZE, dialect), old)
                    adopt(old, new, Choices())
                    errors = verify(network, new, image)
                cells.append(f"{max(error.maximum for error in errors):.1e}")
            print(f"| {name} | {layout} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
