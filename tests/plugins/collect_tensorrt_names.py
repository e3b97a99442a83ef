"""Collect the names of TensorRT's Python bindings from their published wheels, for test_tensorrt_names.py.

The bindings are imported without TensorRT and without a GPU: small libraries that hold nothing but the
functions they ask for stand in for TensorRT's. Needs gcc, nm, and the Python that each wheel is for:

    pip download --no-deps --only-binary :all: tensorrt-cu13-bindings==11.1.0.106    (1 MB; 10.16.1.11 alike)
    pip download --no-deps --python-version 3.10 --only-binary :all: tensorrt==8.6.0  (large: contains the bindings)
    python tests/plugins/collect_tensorrt_names.py python3.10=tensorrt-8.6.0*.whl python3.11=...10.16*.whl ...
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OUTPUT = Path(__file__).with_name("tensorrt_names.json")

# Runs in the Python of the wheel. Prints {"Builder": {"create_network": "INetworkDefinition", ...}, ...}; the names of
# the package itself are under "". The value is the class that a call or a property gives, where its signature says so.
_INSPECT = r"""
import importlib, inspect, json, re, sys
bindings = importlib.import_module(sys.argv[1])

def result(member):
    if inspect.isclass(member):
        return member.__name__
    text = getattr(member.fget if isinstance(member, property) else member, "__doc__", None) or ""
    found = re.search(r"-> (?:Optional\[|collections\.abc\.Sequence\[|List\[)?[\w.]*?(\w+)(?: \|.*|\])?$", text, re.M)
    return found[1] if found else ""

def members(owner):
    names = {name: result(getattr(owner, name)) for name in dir(owner) if not name.startswith("_")}
    return names

# In enumerations every value is of the class itself.
def of_class(owner):
    names = members(owner)
    for name in getattr(owner, "__members__", {}):
        names[name] = owner.__name__
    return names

found = {"": {n: t for n, t in members(bindings).items() if not inspect.ismodule(getattr(bindings, n))}}
found[""] |= {"__version__": "str"}
queue = [getattr(bindings, name) for name in found[""]]
while queue:
    member = queue.pop()
    if not inspect.isclass(member) or not member.__module__.startswith("tensorrt") or member.__name__ in found:
        continue
    found[member.__name__] = of_class(member)
    queue += [getattr(member, name) for name in found[member.__name__]]
classes = set(found)
json.dump({c: {n: t if t in classes else "" for n, t in names.items()} for c, names in found.items()}, sys.stdout)
"""


def stand_ins(bindings: Path) -> None:
    """Put empty libraries beside the bindings for those of TensorRT."""
    dynamic = subprocess.run(["readelf", "-d", bindings], check=True, capture_output=True, text=True).stdout
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", bindings], check=True, capture_output=True, text=True
    ).stdout
    wanted = [name for name in re.findall(r" U (\w+)$", symbols, re.MULTILINE) if not re.match("_?Py", name)]
    source = bindings.with_name("stand_in.c")
    source.write_text("\n".join(f"void* {name}(void) {{ return 0; }}" for name in wanted))
    for library in re.findall(r"\[(libnv[\w.]+)\]", dynamic):
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", source, "-o", bindings.with_name(library)]
        subprocess.run(command, check=True)


def names_of(wheel: Path, python: str) -> dict[str, dict[str, str]]:
    """Return the names in the bindings of a wheel."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        (bindings,) = [name for name in archive.namelist() if name.endswith("/tensorrt.so")]
        package = bindings.split("/")[0]
        for name in archive.namelist():
            if name.startswith(f"{package}/") and (name.endswith(".py") or name == bindings):
                archive.extract(name, folder)
        stand_ins(Path(folder) / bindings)
        environment = {"PYTHONPATH": folder, "LD_LIBRARY_PATH": str((Path(folder) / bindings).parent)}
        command = [python, "-c", _INSPECT, package]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        found: dict[str, dict[str, str]] = json.loads(result.stdout)
        return found


def main(arguments: list[str]) -> None:
    """Write OUTPUT from arguments of the form PYTHON=WHEEL."""
    wheels, merged = [], {}
    for argument in arguments:
        python, _, path = argument.partition("=")
        wheel = Path(path)
        version = wheel.name.split("-")[1]
        digest = hashlib.sha256()
        with wheel.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        wheels.append({"version": version, "wheel": wheel.name, "sha256": digest.hexdigest()})
        for owner, names in names_of(wheel, python).items():
            for name, kind in names.items():
                kinds = merged.setdefault(owner, {}).setdefault(name, {})
                kinds[version] = kind
    versions = [wheel["version"] for wheel in wheels]
    lines = []
    for owner in sorted(merged):
        entries = {}
        for name in sorted(merged[owner]):
            kinds = merged[owner][name]
            where = "".join(str(index) for index, version in enumerate(versions) if version in kinds)
            entries[name] = " ".join(filter(None, [where, max(kinds.values())]))
        lines.append(f"{json.dumps(owner)}: {json.dumps(entries)}")
    header = json.dumps({"wheels": wheels}, indent=1)[:-2]
    OUTPUT.write_text(header + ',\n "names": {\n' + ",\n".join(lines) + "\n }\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
