"""Reads every #include of the house against its walls, and fails where one points the wrong way.

A room is a library; its public headers are included as "ness/ROOM/..", its private ones by their path from
the room, and by nobody else. Also: public headers name only Eigen and the standard library beside Ness
itself, and every room has a README that names it.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])

# Room: its folder, and the rooms whose public headers it may include beside its own.
device = {"device"}
core = device | {"laboratory", "training", "record"}
libraries = core | {"network", "emulators", "protocols", "drivers"}
walls = {
    "device": ("core/device", set()),
    "laboratory": ("core/laboratory", device),
    "training": ("core/training", device),
    "record": ("core/record", device | {"training"}),
    "network": ("sim/network", device),
    "emulators": ("sim/emulators", device | {"network", "protocols"}),
    "protocols": ("protocols", set()),
    "drivers": ("drivers", device | {"laboratory", "protocols"}),
    "files": ("tools/files", libraries),
    "bench": ("tools/bench", libraries | {"files"}),
    "runs": ("tools/runs", libraries | {"files", "bench"}),
    "calibration": ("tools/calibration", libraries | {"files", "runs"}),
    "commands": ("tools/commands", libraries | {"files", "bench", "runs", "calibration"}),
}
folders = ["core", "sim", "protocols", "drivers", "tools"]

include = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.M)
problems = []
seen = 0
homeless = {
    path for folder in folders for path in (root / folder).rglob("*") if path.suffix in {".hpp", ".cpp"}
}
for room, (folder, may) in walls.items():
    home = root / folder
    sources = sorted(path for path in home.rglob("*") if path.suffix in {".hpp", ".cpp"})
    if not sources:
        problems.append(f"{folder}: no sources; the room '{room}' is drawn there")
    for path in sources:
        homeless.discard(path)
        where = path.relative_to(root)
        public = "include" in path.relative_to(home).parts
        if public and path.parent != home / "include" / "ness" / room:
            problems.append(f"{where}: public headers of this room are in {folder}/include/ness/{room}")
        for kind, name in include.findall(path.read_text()):
            seen += 1
            house = re.match(r"ness/(\w+)/", name)
            if house:
                if house.group(1) != room and house.group(1) not in may:
                    problems.append(f"{where}: {room} must not include {name}")
                elif not (root / walls[house.group(1)][0] / "include" / name).is_file():
                    problems.append(f"{where}: includes {name}, which is not there")
            elif kind == '"' and not (home / name).is_file():
                problems.append(f"{where}: includes {name}, which is no file of {folder}")
            elif public and (kind == '"' or "/" in name or "." in name) and not name.startswith("Eigen/"):
                problems.append(f"{where}: a public header includes {name}")
problems += [f"{path.relative_to(root)}: stands in no room" for path in sorted(homeless)]
for folder in folders:
    text = (root / folder / "README.md").read_text()
    problems += [
        f"{folder}/README.md: does not name the room {home.split('/')[1]}"
        for _, (home, _) in walls.items()
        if home.startswith(folder + "/") and f"`{home.split('/')[1]}/`" not in text
    ]
if seen == 0:
    problems.append(f"no #include found under {root}: is this the project's root?")
for line in problems:
    print(line)
print(f"{seen} includes of {len(walls)} rooms read, {len(problems)} wrong")
sys.exit(1 if problems else 0)
