"""ness diff: what differs between the runs of two logs, key by key.

Usage: diff_test.py NESS EXPERIMENTS"""
import json
import pathlib
import subprocess
import sys
import tempfile

ness, experiments = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()


def run(*words, expect=0):
    done = subprocess.run([ness, *map(str, words)], capture_output=True, text=True, timeout=600)
    assert done.returncode == expect, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout


with tempfile.TemporaryDirectory() as directory:
    scratch = pathlib.Path(directory)

    def trained(name, experiment, *words):
        run("train", experiment, "--log", scratch / name, "-q", "--set", "training.epochs=2", *words)
        return scratch / name

    def differences(one, other, expect=1):
        found = json.loads(run("diff", one, other, "--json", expect=expect))
        assert found["same"] == (expect == 0), found
        return {
            section: {one["key"]: (one.get("one"), one.get("other")) for one in value}
            for section, value in found.items()
            if isinstance(value, list) and value
        }

    xor = experiments / "xor.toml"
    first = trained("first.h5", xor)
    again = trained("again.h5", xor)
    assert differences(first, again, expect=0) == {}
    assert "of the same experiment" in run("diff", first, again)
    other = trained("other.h5", xor, "--seed", "7", "--set", "optimizer.rate=0.125")
    found = differences(first, other)
    assert set(found) == {"experiment", "seed"}, found
    assert found["experiment"]["optimizer.rate"][1] == "0.125", found
    assert found["seed"] == {"seed": ("0", "7")}, found
    assert "optimizer.rate: " in run("diff", first, other, expect=1)
    # One number of the data: the key is the set's.
    table = (experiments / "table.toml").read_text()
    (scratch / "table.toml").write_text(table)
    data = (experiments / "table.csv").read_text().splitlines()
    (scratch / "table.csv").write_text("\n".join(data) + "\n")
    before = trained("before.h5", scratch / "table.toml")
    cells = data[1].split(",")
    cells[0] = str(float(cells[0]) + 0.25)
    (scratch / "table.csv").write_text("\n".join([data[0], ",".join(cells), *data[2:]]) + "\n")
    after = trained("after.h5", scratch / "table.toml")
    found = differences(before, after)
    assert set(found) == {"data"} and "train digest of levels" in found["data"], found
    # The sample itself, with its line and both values; and one target.
    assert found["data"]["data.train.inputs"] == ("-4", "-3"), found
    shown = run("diff", before, after, expect=1)
    assert f"data.train.inputs ({scratch / 'table.csv'}:2, column 'x'): -4 | -3" in shown, shown
    cells[0], cells[1] = data[1].split(",")[0], "0.5"
    (scratch / "table.csv").write_text("\n".join([data[0], ",".join(cells), *data[2:]]) + "\n")
    found = differences(before, trained("target.h5", scratch / "table.toml"))
    assert set(found) == {"data"} and found["data"]["data.train.targets"][1] == "0.5", found
    # Another network: its edges, terminals and parameters.
    wider = trained("wider.h5", xor, "--set", "network.layers=[2, 3, 1]")
    found = differences(first, wider)
    assert found["edges"] == {"edges": ("6", "9")}, found
    assert "terminals" in found["device"] and "parameters" in found["device"], found
    # A bench beside none.
    bench = ("--device", "emulated", "--bench", experiments / "bench-emulated.toml", "--no-check")
    on_bench = trained("bench.h5", experiments / "xor-bench.toml", *bench)
    simulated = trained("simulated.h5", experiments / "xor-bench.toml")
    found = differences(simulated, on_bench)
    assert "bench" in found and "device" in found and "experiment" not in found, found
    # Rows of a simulation can be made again, those of a bench cannot.
    assert "every row relaxed again" in run("replay", simulated, "--relax")
    refused = subprocess.run([ness, "replay", str(on_bench), "--relax"], capture_output=True, text=True)
    assert refused.returncode == 2 and "on an emulated bench: expected no --relax" in refused.stderr, refused
    # What is no log is said.
    missing = subprocess.run([ness, "diff", str(first), "nothing.h5"], capture_output=True, text=True)
    assert missing.returncode == 1 and "nothing.h5" in missing.stderr, missing
