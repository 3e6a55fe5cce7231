"""The README: at most 900 words; what stands in its links is there; its commands run,
and print what it shows.

    readme_test.py NESS SOURCE_ROOT"""
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ness, root = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
text = (root / "README.md").read_text()
faults = []
if len(text.split()) > 900:
    faults.append(f"README.md has {len(text.split())} words; expected at most 900")

documents = [root / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((root / "docs").rglob("*.md"))
documents += sorted(
    path
    for folder in ("core", "sim", "protocols", "drivers", "tools", "tests")
    for path in (root / folder).rglob("README.md")
)
for document in documents:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith("http") and not (document.parent / target).exists():
            faults.append(f"{document.relative_to(root)}: links to {target}, which does not exist")

blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.S)
printed = ""
with tempfile.TemporaryDirectory(prefix="ness-readme-") as scratch:
    here = pathlib.Path(scratch)
    shutil.copytree(root / "tools" / "experiments", here / "tools" / "experiments")
    for kind, lines in blocks:
        if kind != "sh":
            continue
        for line in lines.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["tools/run"]:
                faults.append(f"README.md: '{line}' is not run by this test: expected tools/run ..")
                continue
            done = subprocess.run(
                [str(ness), *words[1:]], cwd=here, capture_output=True, text=True, timeout=600
            )
            printed += done.stdout
            if done.returncode != 0:
                faults.append(f"README.md: '{line}': exit code {done.returncode}: {done.stderr}")
lines = set(printed.splitlines())
for kind, shown in blocks:
    if kind == "text":
        faults += [
            f"README.md shows '{line}', which its commands do not print"
            for line in shown.splitlines()
            if line not in lines
        ]
for fault in faults:
    print("FAILED:", fault)
sys.exit(bool(faults))
