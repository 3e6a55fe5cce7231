"""A log stands alone: evaluate, replay, inspect and the rest need no data file, and give the same bits when
those of the run have changed or are gone; a bench's log says what was done in volts.

Usage: alone_test.py NESS SOURCE_ROOT"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np

ness, root = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
experiments, corpus = root / "tools" / "experiments", root / "tests" / "corpus" / "files"
directory = tempfile.TemporaryDirectory(prefix="ness-alone-")
scratch = pathlib.Path(directory.name)


def run(*words, expect=0):
    done = subprocess.run([ness, *map(str, words)], capture_output=True, text=True, timeout=600)
    if done.returncode != expect:
        raise SystemExit(
            f"FAILED: ness {' '.join(map(str, words))} ended with {done.returncode}, expected {expect}: "
            f"{done.stdout}{done.stderr}"
        )
    return done


def answer(*words):
    return json.loads(run(*words, "--json").stdout)


def place(name, *files):
    where = scratch / name
    where.mkdir()
    for file in files:
        (shutil.copytree if file.is_dir() else shutil.copy)(file, where / file.name)
    return where


def said_of(log):
    """What is asked of a log; the same before and after. (Evaluated with one thread and many: the same.)"""
    return {
        "evaluated": answer("evaluate", log),
        "replayed": answer("replay", log),
        "inspected": answer("inspect", log),
    }


def one_label_changed(path, line, column, by):
    lines = path.read_text().splitlines()
    cells = lines[line - 1].split(",")
    cells[column] = by
    path.write_text("\n".join([*lines[: line - 1], ",".join(cells), *lines[line:]]) + "\n")


# ---- columns of a file ----------------------------------------------------------------------------------
where = place("columns", experiments / "table.toml", experiments / "table.csv")
experiment, data, log = where / "table.toml", where / "table.csv", where / "table.h5"
run(*("train", experiment, "--log", log, "-q", "--set", "training.epochs=3", "--set", "task.validation=4"))
before = said_of(log)
assert before["replayed"]["equal"] and before["evaluated"]["validation"]["samples"] == 4, before
sets = {one["name"]: one for one in before["inspected"]["data"]}
assert list(sets) == ["train", "validation", "test"] and sets["train"]["samples"] == 17, sets
assert all(one["levels_stored"] and one["targets_stored"] and one["intact"] for one in sets.values()), sets
assert sets["train"]["file"] == str(data) and len(sets["train"]["digest"]) == 16, sets
text = run("inspect", log).stdout
for words in (
    "train: 17 samples, levels and targets stored here, digest " + sets["train"]["digest"],
    str(data),
):
    assert words in text, (words, text)
run("calibrate", log, "--out", where / "twin.toml")
original = data.read_text()
one_label_changed(data, 3, 1, "0.5")
assert said_of(log) == before
# On files only if it is asked for: then with the label as it is now.
again = answer("evaluate", log, "--set", f"task.train={data}")
assert again["test"]["loss"] != before["evaluated"]["test"]["loss"], again
data.unlink()
experiment.unlink()
assert said_of(log) == before
run("calibrate", log, "--out", where / "again.toml")
assert (where / "again.toml").read_text() == (where / "twin.toml").read_text()
refused = run("evaluate", log, "--set", f"task.train={data}", expect=2).stderr
assert str(data) in refused and len(refused.splitlines()) == 1, refused
# What is made from a log alone is a log that stands alone.
run("evaluate", log, "--log", where / "evaluation.h5")
with h5py.File(log) as one, h5py.File(where / "evaluation.h5") as other:
    for name in ("train", "validation", "test"):
        for column in ("row", "target", "line", "digest"):
            was, now = (held[f"entry/data/{name}/{column}"][()] for held in (one, other))
            assert np.array_equal(was, now), (name, column)
    # The targets are the file's, and each sample says its line.
    rows = dict(enumerate(original.splitlines(), 1))
    for line, target in zip(one["entry/data/test/line"], one["entry/data/test/target"]):
        assert target[0] == float(rows[int(line)].split(",")[1]), (line, target, rows[int(line)])
    edges = one["entry/device/edges"]
    assert list(zip(edges["from"], edges["to"]))[:2] == [(0, 1), (0, 2)] and len(edges["from"]) == 24, edges
    assert [edges["law_name"][k] for k in edges["law"]] == [b"quantum-dot"] * 24

# ---- a data set that is too large to be copied ------------------------------------------------------------
where = place("large", experiments / "table.toml", experiments / "table.csv")
experiment, data, log = where / "table.toml", where / "table.csv", where / "table.h5"
short = ("-q", "--set", "training.epochs=3")
run(*("train", experiment, "--log", log, *short, "--set", "log.largest_copy=100"))
before = said_of(log)
held = before["inspected"]["data"][0]
assert not held["levels_stored"] and not held["targets_stored"] and "intact" not in held, held
assert f"by reference: {data}" in run("inspect", log).stdout
one_label_changed(data, 3, 1, "0.5")
for subcommand in ("evaluate", "replay"):
    refused = run(subcommand, log, expect=1).stderr
    for words in ("set 'train'", str(data), f"digest {held['digest']} then, ", " now"):
        assert words in refused, (words, refused)
    assert len(refused.splitlines()) == 1, refused
# Levels by reference, targets in the log: the label itself is named.
data.write_text(original)
targets = where / "targets.h5"
run(*("train", experiment, "--log", targets, *short, "--set", f"log.largest_copy={21 * 8}"))
held = answer("inspect", targets)["data"][0]
assert held["levels_stored"] and held["targets_stored"], held
wide = where / "wide.toml"  # two columns of inputs take more than one of targets
wide.write_text(
    experiment.read_text()
    .replace('inputs = ["x"]', 'inputs = ["x", "z"]')
    .replace("[1, 12, 1]", "[2, 12, 1]")
)
lines = original.splitlines()
data.write_text(
    "\n".join(["x,z,y"] + [f"{x},{x},{y}" for x, y in (line.split(",") for line in lines[1:])]) + "\n"
)
run(*("train", wide, "--log", where / "wide.h5", *short, "--set", f"log.largest_copy={21 * 8}"))
held = answer("inspect", where / "wide.h5")["data"][0]
assert not held["levels_stored"] and held["targets_stored"], held
before = said_of(where / "wide.h5")
one_label_changed(data, 3, 2, "0.5")
refused = run("evaluate", where / "wide.h5", expect=1).stderr
was = lines[2].split(",")[1]
assert f"data.train.targets ({data}:3, column 'y'): {float(was)} then, 0.5 now" in refused, refused
data.write_text(
    "\n".join(["x,z,y"] + [f"{x},{x},{y}" for x, y in (line.split(",") for line in lines[1:])]) + "\n"
)
assert said_of(where / "wide.h5") == before

# ---- images -----------------------------------------------------------------------------------------------
where = place("images", corpus / "images.toml", corpus / "images")
log = where / "images.h5"
run(*("train", where / "images.toml", "--data", where, "--log", log, "-q"))
before = said_of(log)
assert before["replayed"]["equal"]
sets = {one["name"]: one for one in before["inspected"]["data"]}
assert sets["train"]["levels_stored"] and sets["train"]["samples"] == 30, sets
with h5py.File(log) as held:
    levels = held["entry/patterns/0/levels"]
    assert levels.shape == (9 * 30, 36), levels.shape  # of the images that are used, all variants
shutil.rmtree(where / "images")
(where / "images.toml").unlink()
assert said_of(log) == before

# ---- a bench: rebuilt from nothing but the log ------------------------------------------------------------
where = place("bench", experiments / "xor-bench.toml", experiments / "bench-emulated.toml")
log, transcript = where / "bench.h5", where / "transcript.txt"
bench = (where / "bench-emulated.toml").read_bytes()
run(
    *("train", where / "xor-bench.toml", "--device", "emulated", "--bench", where / "bench-emulated.toml"),
    *("--log", log, "--transcript", transcript, "-q", "--set", "training.epochs=3"),
)
messages = transcript.read_text().splitlines()
evaluated = answer("evaluate", log)
kept = log.read_bytes()
shutil.rmtree(where)
where.mkdir()
log.write_bytes(kept)
with h5py.File(log) as held:
    assert held["entry/bench/file"][()] == bench
assert answer("inspect", log, "--bench")["bench"]["file"].encode() == bench
assert answer("evaluate", log) == evaluated
assert answer("replay", log)["equal"]
# The page's program, as it stands there, against what the instruments were told and said.
page = (root / "docs" / "reference" / "log.md").read_text()
program = next(one for one in re.findall(r"```python\n(.*?)```", page, re.S) if "def volts" in one)
scope = {}
exec(program.split("\nwith ")[0], scope)
with h5py.File(log, locking=False) as held:
    last = int(held["/committed"][0]) - 1
    volts = scope["volts"](held, last)
    try:
        scope["volts"](held, last + 1)
    except IndexError as error:
        assert "not counted" in str(error)
    else:
        raise SystemExit("FAILED: a row beyond /committed has volts")
    names = [name.decode() for name in held["entry/device/terminals/name"]]
    edges = held["entry/device/edges"]
    ends = [(names[a], names[b]) for a, b in zip(edges["from"], edges["to"])]
assert len(volts) == 5 and len(ends) == 6, (volts, ends)
# What the sources were last set to before the scanner was read for the last time, and what it read: in
# steps of 3 uV, of which the log has the mean of the last.
scanner = [k for k, line in enumerate(messages) if re.match(r"scanner .* [<>] ", line)]
scans = [k for asked, k in zip(scanner, scanner[1:]) if messages[asked].endswith("> READ?")]
for wire, terminal in (("input-0", "in0"), ("input-1", "in1")):
    sets = [
        line.split()[-1] for line in messages[: scans[-1]] if re.match(rf"{wire} .* > :SOUR:VOLT \S+$", line)
    ]
    assert abs(volts[terminal] - float(sets[-1])) < 1e-12 and float(sets[-1]) == 0.1 * 3.0, (volts, sets[-1])
read = [float(number) for number in messages[scans[-1]].split()[-1].split(",")]
for terminal, at in zip(("hidden0", "hidden1", "out0"), read):
    assert abs(volts[terminal] - at) < 1e-5 and abs(at) > 1e-2, (volts, read)
assert ends == [
    *((one, to) for to in ("hidden0", "hidden1") for one in ("in0", "in1")),
    ("hidden0", "out0"),
    ("hidden1", "out0"),
], ends
print("logs stand alone: data, images, a bench")
