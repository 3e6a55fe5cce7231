"""Reads every #include of the five folders against the picture of the house, and fails where one points the wrong way.

   core        knows no instrument, no wire and no physics platform
   protocols   knows no experiment
   sim, drivers  stand on core and protocols and never include one another
   tools       knows everyone
Also: public headers name only Eigen and the standard library beside Ness itself.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
allowed = {
    "core": {"core"},
    "protocols": {"protocols"},
    "sim": {"sim", "core", "protocols"},
    "drivers": {"drivers", "core", "protocols"},
    "tools": {"tools", "core", "protocols", "sim", "drivers"},
}
include = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.M)
problems = []
seen = 0
for folder, may in allowed.items():
    for path in sorted((root / folder).rglob("*")):
        if path.suffix not in {".hpp", ".cpp"} or "build" in path.parts:
            continue
        public = "include" in path.relative_to(root).parts
        for kind, name in include.findall(path.read_text()):
            seen += 1
            house = re.match(r"ness/(\w+)/", name)
            if house and house.group(1) not in may:
                problems.append(f"{path.relative_to(root)}: {folder} must not include {name}")
            if public and not house:
                standard = kind == "<" and ("/" not in name and "." not in name)
                if not standard and not name.startswith("Eigen/"):
                    problems.append(f"{path.relative_to(root)}: a public header includes {name}")
if seen == 0:
    problems.append(f"no #include found under {root}: is this the project's root?")
for line in problems:
    print(line)
print(f"{seen} includes read, {len(problems)} wrong")
sys.exit(1 if problems else 0)
