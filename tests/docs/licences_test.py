"""docs/licences.md lists what the built libraries and the command link, with licences that Debian's copyright
files name; and what a stranger links for a device, a training loop, a log or drivers leads to no CHOLMOD.

    licences_test.py SOURCE_ROOT NESS LIBRARY.."""
import pathlib
import re
import subprocess
import sys

root, files = pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
runtime = (
    "libstdc++",
    "libm",
    "libgcc_s",
    "libc",
    "ld-linux-x86-64",
    "ld-linux-aarch64",
    "libpthread",
    "libatomic",
    "libgomp",
    "libasan",
    "libubsan",
)
without_gpl = ("device", "training", "record", "laboratory", "protocols", "drivers")
faults, needed = [], {}
for file in files:
    for name in re.findall(
        r"\(NEEDED\).*\[(\S+?)\.so",
        subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True).stdout,
    ):
        if not name.startswith("libness_") and name not in runtime:
            needed.setdefault(name, []).append(file.name)
    room = re.sub(r"^libness_|\.so.*$", "", file.name)
    if room in without_gpl:
        linked = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
        faults += [
            f"{file.name} leads to {name}"
            for name in ("libcholmod", "libklu", "libceres", "libness_network")
            if name in linked
        ]

rows = {}
compiled_in = False
for line in (root / "docs" / "licences.md").read_text().splitlines():
    compiled_in = compiled_in or line == "## What is compiled in"
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if len(cells) != 4 or cells[0] in ("library", "---"):
        continue
    library, package, licence, _ = cells
    if not compiled_in:
        rows[library.removesuffix(".so")] = line
    copyright_file = pathlib.Path("/usr/share/doc") / package / "copyright"
    if package and copyright_file.exists():
        names = {
            word.lower()
            for word in re.findall(r"^License:\s*(.*)$", copyright_file.read_text(errors="replace"), re.M)
        }
        if not any(licence.lower() in name for name in names):
            faults.append(
                f"docs/licences.md: {package} is said to be {licence}; "
                f"its copyright file names {sorted(names)}"
            )
    elif package:
        print(f"not compared: no copyright file of {package} here")
for name, users in sorted(needed.items()):
    if name not in rows:
        faults.append(f"docs/licences.md: lacks {name}.so, which {', '.join(users)} needs")
alternatives = (
    "liblapack",
    "libf77blas",
    "libblas",
    "libopenblas",
)  # which of these is linked is the system's choice
for name in rows:
    if name not in needed and name not in alternatives:
        faults.append(f"docs/licences.md: lists {name}.so, which nothing needs any more")
for fault in faults:
    print("FAILED:", fault)
sys.exit(bool(faults))
