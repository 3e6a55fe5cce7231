"""The style of sources: C++ by .clang-format, Python by black and without what pyflakes finds, and no line of
code over 110 columns.

    style.py SOURCE

Fails with the files that differ; `clang-format -i FILE` and `black -l 110 -S FILE` mend them."""

import os
import pathlib
import subprocess
import sys

WIDTH = 110
source = pathlib.Path(sys.argv[1]).resolve()
folders = ["core", "sim", "protocols", "drivers", "tools", "tests", "docs", ".ci"]
scripts = {source / name for name in ("tools/run", "tools/test", ".ci/run")}
# Data: files of before, and experiments, whose lines are a user's.
data = {source / "tests" / "corpus", source / "tools" / "experiments"}


def sources():
    yield source / "CMakeLists.txt"
    for folder in folders:
        for directory, below, names in os.walk(source / folder):
            here = pathlib.Path(directory)
            below[:] = [name for name in below if name != "__pycache__" and here / name not in data]
            yield from (here / name for name in names)


cpp, python, faults = [], [], []
for path in sorted(sources()):
    kind = path.suffix
    if kind in (".cpp", ".hpp"):
        cpp.append(path)
    elif kind == ".py":
        python.append(path)
    elif kind not in (".sh", ".cmake", ".in") and path.name != "CMakeLists.txt" and path not in scripts:
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if len(line) > WIDTH:
            faults.append(f"{path.relative_to(source)}:{number}: {len(line)} columns")
assert len(cpp) > 300 and len(python) > 10, "sources are missing"


def complaints(*command):
    """What a check writes where it fails; something, even where it writes nothing."""
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if ": error: " in line or line.startswith("would ")]
    return (
        [] if done.returncode == 0 else lines or [f"{command[0]}: exit code {done.returncode}: {done.stderr}"]
    )


faults += complaints("clang-format", "--dry-run", "-Werror", *map(str, cpp))
for path in python:  # names that nothing defines
    done = subprocess.run(["pyflakes3", path], capture_output=True, text=True)
    faults += done.stdout.splitlines() + done.stderr.splitlines()
faults += complaints("black", "-l", str(WIDTH), "-S", "--check", *map(str, python))
print("\n".join(faults))
print(f"{len(cpp)} sources of C++, {len(python)} of Python: {len(faults)} faults")
sys.exit(1 if faults else 0)
