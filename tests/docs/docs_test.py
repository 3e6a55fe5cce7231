"""The pages of docs/reference say what the program reads and writes.

    docs_test.py NESS_REFERENCE NESS SOURCE_ROOT [--write]

--write: makes the pages anew. Keys of files come from the readers (ness-reference); the log's contents from
logs that the program writes now, with the units and meanings that it stores in them. commands.md is written
by hand, and names every subcommand."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import h5py

reference, ness, root = (
    pathlib.Path(sys.argv[1]).resolve(),
    pathlib.Path(sys.argv[2]).resolve(),
    pathlib.Path(sys.argv[3]).resolve(),
)
here = root / "tests" / "docs"
tables = ("relaxations", "training", "epochs", "checkpoints")

# Texts have no units, and HDF5's own way of saying what they mean is their name.
texts = {
    "command": "the command line that made the run",
    "experiment": "the whole experiment file, with everything set on the command line",
    "end_time": "when the run ended, UTC",
    "start_time": "when it began, UTC",
    "exit_status": "`running`, `finished`, `cancelled`, `failed`",
    "exit_reason": "why it ended, in a sentence",
    "program_name": "`ness`",
    "title": "the experiment's title",
    "versions/software": "names",
    "versions/version": "their versions",
    "device/identity": "what the device is, and who answered on a bench",
    "device/arithmetic": "vector target of the simulation's arithmetic",
    "device/potential_unit": "unit of potentials",
    "device/current_unit": "unit of currents",
    "device/time_unit": "unit of the device's time",
    "bench/path": "of the bench file",
    "bench/file": "the whole bench file that the run was made with: what a potential is in volts",
    "bench/instruments/name": "names in the bench file",
    "bench/instruments/address": "where they are",
    "bench/instruments/model": "what they are, such as `Keithley 2400`",
    "bench/instruments/identity": "what each answered to `*IDN?`",
    "bench/instruments/NAME/calibration/name": "what it knows of its calibration, such as `calibrated`",
    "bench/instruments/NAME/calibration/value": "its answer",
    "bench/instruments/NAME/settings_start/name": "what it was set to before the first relaxation",
    "bench/instruments/NAME/settings_start/value": "its answer",
    "bench/instruments/NAME/settings_end/name": "what it was set to when the bench was safe; "
    "empty: the run did not come to its end",
    "bench/instruments/NAME/settings_end/value": "its answer; of `no answer`: why",
    "bench/check/warnings": "what `ness check` warned of",
    "bench/check/undecided": "pairs of wires whose exchange would not have been seen",
    "bench/check/wires/name": "that set a level",
    "bench/check/wires/verdict": "`right`, `exchanged`, ..",
    "bench/check/wires/of": "like which other it responds",
    "bench/check/wires/answered": "readings that moved with it, the strongest first",
    "bench/check/readings/name": "wires that read",
    "bench/check/readings/verdict": "likewise",
    "bench/check/readings/of": "like which other it reads",
    "bench/check/steps/channel": "the wire that was stepped",
    "bench/check/steps/reading": "the wire that read",
    "from/path": "the log that the first parameters came from, as given to `--from`",
    "from/kind": "`last`, `best` or `step`",
    "device/environment/name": "surroundings that are read",
    "device/environment/unit": "their units",
    "device/parameters/name": "such as `a[0]`",
    "device/parameters/kind": "such as `a`",
    "device/parameters/unit": "unit of each",
    "device/terminals/name": "such as `input-0`",
    "patterns/N/name": "`train`, `validation`, `test`",
    "patterns/N/path": "the data file that the levels come from; without `levels` they are there alone",
    "data/task": "the task's kind",
    "data/SET/file": "the data file of the samples, if they come from one",
    "data/SET/input_column": "names of its columns of inputs",
    "data/SET/target_column": "names of its columns of targets",
    "device/edges/law_name": "names of the laws",
    "source/path": "the experiment file",
    "source/data": "root of the data directories that was given (`--data`), or empty",
    "source/set": "keys that were set beside the file, as `optimizer.rate=0.01`",
    "patterns/N/sha256": "its SHA-256",
    "patterns/N/encoding": "how its values become levels",
}
widths = {"theta": "parameters", "potential": "read", "levels": "clamped"}
lengths = {
    "data/SET/input_column": "[columns]",
    "data/SET/target_column": "[columns]",
    "data/SET/target": "[samples, target_size]",
    "device/edges/law_name": "[laws]",
}


def made(words, cwd=None):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def shape_of(path, dataset, names):
    group, _, column = path.rpartition("/")
    if group in tables and not path.endswith("potential_terminal"):
        if column + "_end" in names:
            return "list"
        return "[rows]" if dataset.ndim == 1 else f"[rows, {widths[column]}]"
    if path == "committed" or dataset.ndim == 0:
        return "[4]" if path == "committed" else "one"
    if path.endswith("potential_terminal"):
        return "[read]"
    if path in lengths:
        return lengths[path]
    if group == "patterns/N":
        return "[rows, clamped]"
    return {
        "device/parameters": "[parameters]",
        "device/terminals": "[terminals]",
        "device/environment": "[surroundings]",
        "bench/instruments": "[instruments]",
        "bench/instruments/NAME/calibration": "[statements]",
        "bench/instruments/NAME/settings_start": "[statements]",
        "bench/instruments/NAME/settings_end": "[statements]",
        "bench/check": "[lines]",
        "bench/check/wires": "[wires]",
        "bench/check/readings": "[readings]",
        "bench/check/steps": "[steps]",
        "from": "[parameters]",
        "versions": "[software]",
        "device/edges": "[edges]",
        "data/SET": "[samples]",
        "source": "[settings]",
        "device": "[outputs]",
        "checks": "[sectors, 2]" if column == "tableK" else "[bytes]",
    }[group]


def examples(scratch):
    """The page's own programs run, and print what there is to print."""
    shutil.copy(pathlib.Path(scratch) / "one.h5", pathlib.Path(scratch) / "xor.h5")
    shutil.copy(pathlib.Path(scratch) / "three.h5", pathlib.Path(scratch) / "bench.h5")
    programs = re.findall(r"```python\n(.*?)```", (here / "log_introduction.md").read_text(), re.S)
    said = "".join(made([sys.executable, "-c", program], scratch) for program in programs)
    read = {}
    with h5py.File(pathlib.Path(scratch) / "bench.h5", "r", locking=False) as log:
        entry = log["entry"]
        for name, clamped, reads in zip(
            *(entry[f"device/terminals/{key}"] for key in ("name", "clamped", "reads_potential"))
        ):
            if clamped or reads:
                read[name.decode()] = None
    printed = [line.rpartition(": ") for line in said.splitlines()]
    if len(programs) != 2 or {name for name, _, _ in printed} != set(read):
        sys.exit(f"the log page's programs print {said!r}; expected a voltage of each of {sorted(read)}")


def datasets():
    """{path below /entry: (shape, type, unit, meaning)} of everything in a few logs."""
    found, formats = {}, set()
    with tempfile.TemporaryDirectory(prefix="ness-docs-") as scratch:
        shutil.copytree(root / "tests" / "corpus" / "files", scratch, dirs_exist_ok=True)
        short = ["--set", "training.epochs=1", "-q", "--log"]
        made([ness, "train", "xor-bench.toml", *short, "one.h5"], scratch)
        made([ness, "train", "images.toml", "--data", scratch, *short, "two.h5"], scratch)
        made(
            [
                ness,
                "train",
                "xor-bench.toml",
                "--device",
                "emulated",
                "--bench",
                "every-key-bench.toml",
                "--no-check",
                *short,
                "three.h5",
            ],
            scratch,
        )
        made([ness, "train", "points.toml", "--seed", "1", *short, "four.h5"], scratch)
        examples(scratch)
        made([ness, "train", "xor-bench.toml", "--from", "one.h5", *short, "five.h5"], scratch)
        experiments = root / "tools" / "experiments"
        bench = ["--device", "emulated", "--bench", experiments / "bench-emulated.toml"]
        made([ness, "train", experiments / "xor-bench.toml", *bench, *short, "six.h5"], scratch)
        for name in ("one", "two", "three", "four", "five", "six"):
            with h5py.File(pathlib.Path(scratch) / f"{name}.h5", "r", locking=False) as log:
                formats.add(int(log.attrs["ness_log_format"]))

                def visit(full, item):
                    if not isinstance(item, h5py.Dataset):
                        return
                    path = re.sub(r"^patterns/\d+", "patterns/N", full.removeprefix("entry/"))
                    path = re.sub(r"^data/(train|validation|test)", "data/SET", path)
                    path = re.sub(r"^checks/table\d+", "checks/tableK", path)
                    path = re.sub(r"^bench/instruments/[^/]+/", "bench/instruments/NAME/", path)
                    kind = "text" if item.dtype.kind in "SO" else str(item.dtype)
                    unit, meaning = (item.attrs.get(key, b"").decode() for key in ("units", "long_name"))
                    meaning = meaning or texts.get(path, "")
                    if not meaning:
                        sys.exit(
                            f"the log's dataset {full} has no meaning: expected an attribute long_name, "
                            "or a line in docs_test.py"
                        )
                    found.setdefault(path, (shape_of(path, item, item.parent), kind, unit, meaning))

                log.visititems(visit)
    return found, formats.pop()


def log_page():
    found, log_format = datasets()
    page = (here / "log_introduction.md").read_text().replace("FORMAT", str(log_format))
    groups = {}
    for path in found:
        groups.setdefault("/".join(path.split("/")[:-1]), []).append(path)
    for group in sorted(
        groups, key=lambda name: (name in tables, tables.index(name) if name in tables else 0, name)
    ):
        whole = group if group == "checks" else f"entry/{group}"
        page += f"\n## `/{whole}`\n\n" if group else "\n## Top\n\n"
        page += "| dataset | shape | type | unit | meaning |\n|---|---|---|---|---|\n"
        for path in groups[group]:
            shape, kind, unit, meaning = (cell.replace("|", "\\|") for cell in found[path])
            name = "/committed" if path == "committed" else path.split("/")[-1] if group else "/entry/" + path
            if name.endswith("_end"):
                continue
            page += f"| `{name}` | {shape} | {kind} | {unit} | {meaning} |\n"
    return page


pages = {
    "experiment-file": lambda: made([reference, "experiment-file"]),
    "bench-file": lambda: made([reference, "bench-file"]),
    "log": log_page,
}
commands = re.findall(r"^  ([a-z][a-z-]*)  ", made([ness, "--help"]).split("ubcommands:")[-1], re.M)
named = (root / "docs" / "reference" / "commands.md").read_text()
faults = [
    f"docs/reference/commands.md lacks `ness {name}`"
    for name in commands
    if f"`ness {name} " not in named and f"`ness {name}`" not in named
]
if len(commands) < 10:
    faults.append(f"ness --help lists {commands}: expected all subcommands")
for name, make in pages.items():
    page, text = root / "docs" / "reference" / f"{name}.md", make()
    if "--write" in sys.argv:
        page.write_text(text)
    elif not page.exists() or page.read_text() != text:
        written = page.read_text().splitlines() if page.exists() else []
        differing = sorted(set(written) ^ set(text.splitlines()))
        faults.append(
            f"{page.relative_to(root)} differs from what the program says (--write makes it anew): "
            f"{differing[:6]}"
        )
for fault in faults:
    print("FAILED:", fault)
sys.exit(bool(faults))
