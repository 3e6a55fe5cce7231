"""ness export: what xarray, netCDF's own library, h5py and csv read is what the log holds.

Usage: export_test.py NESS SOURCE_ROOT"""
import csv
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import h5py
import netCDF4
import numpy as np
import xarray

from log_checks import tampered

ness, root = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
experiments = root / "tools" / "experiments"


def run(*words, expect=0):
    done = subprocess.run([ness, *map(str, words)], capture_output=True, text=True, timeout=600)
    assert done.returncode == expect, (words, done.returncode, done.stdout, done.stderr)
    return done


def texts(dataset):
    return [text.decode() for text in dataset[:]]


class Log:
    """What h5py reads of a log."""

    def __init__(self, path):
        with h5py.File(path, "r", locking=False) as file:
            self.counts = [int(n) for n in file["/committed"][:]]
            entry = file["entry"]
            self.tables = {}
            for table, n in zip(("relaxations", "training", "epochs", "checkpoints"), self.counts):
                found = self.tables[table] = {}
                for name, column in entry[table].items():
                    ends = entry[table].get(name + "_end")
                    found[name] = column[:] if ends is not None else column[:n]
            device = entry["device"]
            names = texts(device["terminals/name"])
            clamped = device["terminals/clamped"][:] != 0
            self.inputs = [name for name, is_clamped in zip(names, clamped) if is_clamped]
            self.terminals = [names[t] for t in entry["relaxations/potential_terminal"][:]]
            self.parameters = texts(device["parameters/name"])
            self.units = texts(device["parameters/unit"])
            self.levels = {
                int(key): group["levels"][:] for key, group in entry["patterns"].items() if "levels" in group
            }

    def lists(self, name):
        table = self.tables["relaxations"]
        ends = [0, *map(int, table[name + "_end"])]
        return [table[name][ends[i] : ends[i + 1]] for i in range(len(ends) - 1)]


def same(a, b):
    return np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True)


def check_netcdf(path, log, damaged=()):
    rows, steps, epochs, checkpoints = log.counts
    whole = np.array([i not in damaged for i in range(rows)])
    with xarray.open_dataset(path) as found:
        relaxations, training = log.tables["relaxations"], log.tables["training"]
        assert dict(found.sizes)["relaxation"] == rows and dict(found.sizes)["step"] == steps, found.sizes
        potential = found["potential"]
        assert potential.dims == ("relaxation", "terminal"), potential.dims
        assert list(potential["terminal"].values) == log.terminals, potential["terminal"]
        assert same(potential.values[whole], relaxations["potential"][whole])
        assert potential.attrs["units"] == "kT"
        # By name, as xarray does it.
        assert same(potential.sel(terminal=log.terminals[-1])[whole], relaxations["potential"][whole, -1])
        theta = found["theta"]
        assert theta.dims == ("step", "parameter")
        assert list(theta["parameter"].values) == log.parameters
        assert same(theta.values, training["theta"])
        assert list(found["parameter_unit"].values) == log.units
        for name in ("pattern_row", "position", "sample", "flags", "time_read", "theta_digest", "recorded"):
            assert (found[name].values[whole] == relaxations[name][whole]).all(), name
            assert found[name].dims == ("relaxation",), name
        assert (found["label_step"].values[whole] == relaxations["step"][whole]).all()
        for name in ("loss", "gradient_norm", "theta_after", "step"):
            assert (found["training_" + name].values == training[name]).all(), name
        for name in ("loss", "best_step", "validated"):
            assert (found["epochs_" + name].values == log.tables["epochs"][name]).all(), name
        assert found["checkpoints_theta"].shape == (checkpoints, len(log.parameters))
        assert same(found["checkpoints_theta"].values.ravel(), log.tables["checkpoints"]["theta"])
        # Inputs as levels.
        levels = [
            log.levels[int(s)][int(r)] if int(s) in log.levels else [math.nan] * len(log.inputs)
            for s, r in zip(relaxations["pattern_set"], relaxations["pattern_row"])
        ]
        assert list(found["input"].values) == log.inputs
        assert found["input_level"].dims == ("relaxation", "input")
        assert same(found["input_level"].values[whole], np.asarray(levels)[whole])
        assert [int(i) for i in np.flatnonzero(found["damaged"].values)] == list(damaged)
        assert np.isnan(potential.values[~whole]).all()
        assert str(found["experiment"].values).startswith("title"), found["experiment"]
    # The reference implementation names the dimensions likewise, and every variable has some.
    with netCDF4.Dataset(path) as found:
        assert found.data_model == "NETCDF4"
        assert found["potential"].dimensions == ("relaxation", "terminal")
        assert not any("phony" in name for name in found.dimensions), found.dimensions.keys()
        assert all(v.dimensions for name, v in found.variables.items() if name != "experiment")


def number(cell):
    return math.nan if cell == "" else float(cell)


def check_csv(folder, log, damaged=()):
    rows, steps, epochs, _ = log.counts

    def table(name):
        with open(folder / name, newline="") as file:
            header, *lines = csv.reader(file)
        assert all(len(line) == len(header) for line in lines), name
        return {key: [line[i] for line in lines] for i, key in enumerate(header)}

    whole = [i for i in range(rows) if i not in damaged]
    found, relaxations = table("relaxations.csv"), log.tables["relaxations"]
    assert found["row"] == [str(i) for i in range(rows)]
    for k, name in enumerate(log.terminals):
        column = [float(x) for x in found[f"potential.{name} [kT]"]]
        # 17 digits give the bits back.
        assert [column[i] for i in whole] == list(relaxations["potential"][whole, k]), name
        assert all(math.isnan(column[i]) for i in damaged)
    for i in whole:
        assert int(found["theta_digest"][i]) == int(relaxations["theta_digest"][i])
    for name, heading in (
        ("nudge", "nudge [kT/hbar]"),
        ("sigma", "sigma [kT]"),
        ("current", "current [kT/hbar]"),
    ):
        lists = log.lists(name)
        for i in whole:
            assert same([float(x) for x in found[heading][i].split()], lists[i]), (name, i)
    for k, name in enumerate(log.inputs):
        column = [float(x) for x in found[f"input.{name} [kT]"]]
        for i in whole:
            known = int(relaxations["pattern_set"][i]) in log.levels
            if known:
                expected = log.levels[int(relaxations["pattern_set"][i])][int(relaxations["pattern_row"][i])][
                    k
                ]
            assert column[i] == expected if known else math.isnan(column[i]), (name, i)
    found = table("steps.csv")
    assert len(found["row"]) == steps
    for k, (name, unit) in enumerate(zip(log.parameters, log.units)):
        heading = f"theta.{name}" + ("" if unit == "1" else f" [{unit}]")
        assert [float(x) for x in found[heading]] == list(log.tables["training"]["theta"][:, k]), name
    assert [float(x) for x in found["loss"]] == list(log.tables["training"]["loss"])
    found = table("epochs.csv")
    assert len(found["row"]) == epochs and [float(x) for x in found["loss"]] == list(
        log.tables["epochs"]["loss"]
    )


def export_and_check(scratch, path, damaged=()):
    name = pathlib.Path(path).stem
    done = run("export", path, "--csv", scratch / f"{name}-csv", "--netcdf", scratch / f"{name}.nc")
    log = Log(path)
    check_netcdf(scratch / f"{name}.nc", log, damaged)
    check_csv(scratch / f"{name}-csv", log, damaged)
    return done


with tempfile.TemporaryDirectory() as directory:
    scratch = pathlib.Path(directory)

    def trained(name, experiment, *settings):
        words = [word for one in ("training.epochs=4", *settings) for word in ("--set", one)]
        run("train", experiments / experiment, "--log", scratch / name, "-q", *words)
        return scratch / name

    # Of several estimators: nudges, held terminals with their currents, errors of readings.
    plain = trained("xor.h5", "xor.toml")
    export_and_check(scratch, plain)
    nudged = trained("nudged.h5", "xor.toml", 'estimator.kind="ep-centred"', "device.read_noise=0.001")
    export_and_check(scratch, nudged)
    with xarray.open_dataset(scratch / "nudged.nc") as found:
        assert found["sigma"].dims == ("relaxation", "terminal")
        assert found["nudge"].dims == ("relaxation", "nudgeable")
    held = trained("held.h5", "xor.toml", 'estimator.kind="conductance"')
    export_and_check(scratch, held)
    with xarray.open_dataset(scratch / "held.nc") as found:
        log = Log(held)
        assert same(found["hold_level"], np.concatenate(log.lists("hold_level")))
        assert [int(n) for n in found["hold_level_count"]] == [len(one) for one in log.lists("hold_level")]
        assert found["current"].dims == ("relaxation", "every_terminal")
    paths = trained(
        "paths.h5",
        "xor.toml",
        "training.observe.time=3",
        "training.observe.samples=3",
        "training.observe.path=true",
    )
    export_and_check(scratch, paths)
    with xarray.open_dataset(scratch / "paths.nc") as found:
        assert same(found["path"], np.concatenate(Log(paths).lists("path")))

    # Nothing is overwritten.
    for words in (("--csv", scratch / "xor-csv"), ("--netcdf", scratch / "xor.nc")):
        before = {p: p.read_bytes() for p in scratch.rglob("*") if p.is_file()}
        done = run("export", plain, *words, expect=1)
        assert "exists already" in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert {p: p.read_bytes() for p in scratch.rglob("*") if p.is_file()} == before
    (scratch / "partly").mkdir()
    (scratch / "partly" / "steps.csv").write_text("mine")
    run("export", plain, "--csv", scratch / "partly", expect=1)
    assert [p.name for p in (scratch / "partly").iterdir()] == ["steps.csv"]
    assert "--csv FOLDER or --netcdf FILE" in run("export", plain, expect=2).stderr
    assert run("export", scratch / "none.h5", "--csv", scratch / "none", expect=1).stderr.startswith("ness: ")

    # While a log is written, and after its writer was killed, what is counted is exported.
    growing = scratch / "growing.h5"
    endless = ("training.epochs=1000000", "training.target_loss=0", "log.group_rows=16")
    words = [word for one in endless for word in ("--set", one)]
    writer = subprocess.Popen(
        [ness, "train", str(experiments / "xor.toml"), "--log", str(growing), "-q", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not growing.exists() and writer.poll() is None:
            pass
        seen = 0
        for i in range(3):
            report = json.loads(
                run("export", growing, "--netcdf", scratch / f"growing-{i}.nc", "--json").stdout
            )
            assert report["rows"] >= seen and not report["damaged_rows"], report
            seen = report["rows"]
            with xarray.open_dataset(scratch / f"growing-{i}.nc") as found:
                assert found.sizes["relaxation"] == seen and np.isfinite(found["potential"].values).all()
    finally:
        writer.kill()
        writer.wait()
    export_and_check(scratch, growing)

    # The example of the documentation sees no more than what is counted.
    cut = scratch / "cut.h5"
    shutil.copy(plain, cut)
    with tampered(cut) as file:
        counts = file["/committed"][:]
        file["/committed"][:] = counts - np.array([5, 1, 1, 0], counts.dtype)
    example = re.search(r"```python\n(.*?)```", (root / "docs/reference/log.md").read_text(), re.S)
    names = {}
    exec(example.group(1).replace('"xor.h5"', repr(str(cut))), names)
    assert len(names["potentials"]) == len(names["nudged"]) == int(counts[0]) - 5
    assert len(names["loss"]) == int(counts[1]) - 1

    # A damaged row is named, and is no number.
    broken = scratch / "broken.h5"
    shutil.copy(plain, broken)
    with tampered(broken) as file:
        file["/entry/relaxations/potential"][7, 1] += 1
    done = export_and_check(scratch, broken, damaged=[7])
    assert "row 7 is damaged" in done.stderr, done.stderr

    # The tags of texts: ASCII, of fixed length, null-padded, unless a text has other characters. Octave 7
    # reads every text into H5T_C_S1 (libinterp/octave-value/ov-str-mat.cc), and HDF5 converts nothing from
    # UTF-8 to that.
    def kinds(path):
        found = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and item.id.get_type().get_class() == h5py.h5t.STRING:
                kind = item.id.get_type()
                assert not kind.is_variable_str() and kind.get_strpad() == h5py.h5t.STR_NULLPAD, name
                found[name] = kind.get_cset()

        with h5py.File(path, "r", locking=False) as file:
            file.visititems(visit)
        return found

    found = kinds(plain)
    assert "entry/experiment" in found and "entry/device/terminals/name" in found, found
    assert set(found.values()) == {h5py.h5t.CSET_ASCII}, found
    (scratch / "named.toml").write_text(
        (experiments / "xor.toml").read_text().replace('title = "XOR', 'title = "µ')
    )
    run("train", scratch / "named.toml", "--log", scratch / "named.h5", "-q", "--set", "training.epochs=2")
    found = kinds(scratch / "named.h5")
    utf8 = {name for name, cset in found.items() if cset == h5py.h5t.CSET_UTF8}
    assert utf8 <= {"entry/title", "entry/experiment", "entry/command"} and "entry/title" in utf8, utf8
    assert json.loads(run("replay", scratch / "named.h5", "--json").stdout)["equal"]
    if shutil.which("octave-cli"):
        script = f"log = load('{plain}'); printf('%s|%d', log.entry.title, rows(log.entry.experiment))"
        done = subprocess.run(["octave-cli", "--eval", script], capture_output=True, text=True, timeout=300)
        assert done.stdout.startswith("XOR, quantum dots 2-2-1|"), (done.stdout, done.stderr)

print("ok")
