"""Going on with a run under another experiment, network, data set, bench or program is refused, each change
with its key and both values, and allowed by its name: then the run goes on as it was logged.

Usage: changed_test.py NESS SOURCE_ROOT"""
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from log_checks import tampered

ness, root = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
experiments = root / "tools" / "experiments"
directory = tempfile.TemporaryDirectory(prefix="ness-changed-")
scratch = pathlib.Path(directory.name)
POINTS = "x,z,class\n-1.0,0.5,0\n-0.5,0.1,1\n0.0,-0.7,0\n0.25,0.3,1\n0.75,-0.2,1\n1.0,0.9,0\n"
NODES = [{"clamped": True}, {"clamped": True}, {"g": 0.4}, {"g": 0.3}, {"g": 0.25}, {"g": 0.5}]
EDGES = [(0, 2), (0, 3), (1, 2), (1, 3), (2, 4), (3, 4), (2, 5), (3, 5)]
NETWORK = {
    "nodes": NODES,
    "edges": [
        {"source": a, "target": b, "law": "quantum-dot", "gamma": 1.5, "a": 0.25 * k - 1, "b": 0.5}
        for k, (a, b) in enumerate(EDGES)
    ],
    "outputs": [4, 5],
}
EXPERIMENT = """title = "changes"
seed = 3

[network]
file = "network.json"

[parameters.gamma]
range = [1e-3, 100.0]

[task]
kind = "csv"
train = "points.csv"
inputs = ["x", "z"]
targets = ["class"]
classes = 2
standardise = true

[loss]
scale = 2.0

[estimator]
kind = "adjoint"

[optimizer]
rate = 0.001

[training]
epochs = 2000
batch = 3
checkpoint_every = 7
"""


def call(*words):
    return subprocess.run([ness, *map(str, words)], capture_output=True, text=True, timeout=600)


def run(*words, expect=0):
    done = call(*words)
    if done.returncode != expect:
        raise SystemExit(
            f"FAILED: ness {' '.join(map(str, words))} ended with {done.returncode}, expected {expect}: "
            f"{done.stdout}{done.stderr}"
        )
    return done


def stopped(log, *words):
    """A run that was stopped after some steps."""
    process = subprocess.Popen(
        [ness, "train", *map(str, words), "--log", str(log), "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        looked = call("inspect", log, "--quick", "--json")
        if looked.returncode == 0 and json.loads(looked.stdout)["steps"] > 0:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (process.returncode, out, err)


def written(where):
    where.mkdir(exist_ok=True)
    (where / "e.toml").write_text(EXPERIMENT)
    (where / "network.json").write_text(json.dumps(NETWORK))
    (where / "points.csv").write_text(POINTS)
    return where


where = written(scratch / "simulated")
experiment, network, data = where / "e.toml", where / "network.json", where / "points.csv"
# What was set beside the file is set again.
begun = (experiment, "--set", "optimizer.clip=4.0", "--seed", "5")
whole = json.loads(run("train", *begun, "--log", where / "whole.h5", "-q", "--json").stdout)["theta_digest"]
log = where / "stopped.h5"
stopped(log, *begun)


def resumed(name, *words):
    """Goes on with a copy of the stopped run, and says how that ends."""
    copy = where / f"{name}.h5"
    shutil.copy(log, copy)
    done = call("train", "--resume", copy, "-q", "--json", *words)
    if done.returncode == 0:
        # As it was logged: whatever has changed, this is the run that was not interrupted.
        assert json.loads(done.stdout)["theta_digest"] == whole, (name, done.stdout)
    return done


assert resumed("unchanged").stderr == ""
# Comments, order and layout are no change.
experiment.write_text("# copied\n" + EXPERIMENT.replace("rate = 0.001", "rate   = 1e-3"))
network.write_text(json.dumps(NETWORK, indent=2))
assert resumed("layout").stderr == ""
written(where)


def named_in(refusal):
    """What the refusal says to name."""
    return refusal.rpartition("If that is meant: --changed ")[2].strip()


def edited(path, old, new):
    def change():
        text = path.read_text()
        assert old in text, (path, old)
        path.write_text(text.replace(old, new, 1))

    return change


def other_network():
    changed = json.loads(network.read_text())
    changed["edges"][3]["a"] = 0.5
    network.write_text(json.dumps(changed))


def other_version(path):
    with tampered(path) as held:
        versions = held["entry/versions"]
        place = [name.decode() for name in versions["software"]].index("ness")
        versions["version"][place] = b"0.0.9"


changes = {
    # name: (how, keys of which one is named, what is said)
    "label": (
        edited(data, "0.25,0.3,1", "0.25,0.3,0"),
        ["data.train.targets"],
        [f"data.train.targets ({data}:5, column 'class'): 1 then, 0 now"],
    ),
    "input": (
        edited(data, "0.25,0.3,1", "0.25,0.35,1"),
        ["data.train.inputs", "task.standard"],
        [f"data.train.inputs ({data}:2, column 'z'; the first of 6): ", "task.standard: "],
    ),
    "network": (other_network, ["network.json"], ["network.json.edges.3.a: -0.25 then, 0.5 now"]),
    "seed": (edited(experiment, "seed = 3", "seed = 4"), None, []),
    "rate": (
        edited(experiment, "rate = 0.001", "rate = 0.002"),
        ["optimizer"],
        ["optimizer.rate: 0.001 then, 0.002 now"],
    ),
    "estimator": (
        edited(experiment, '"adjoint"', '"fd-central"'),
        ["estimator.kind"],
        ['estimator.kind: "adjoint" then, "fd-central" now'],
    ),
    "loss": (edited(experiment, "scale = 2.0", "scale = 3.0"), ["loss"], ["loss.scale: 2.0 then, 3.0 now"]),
    "batch": (
        edited(experiment, "batch = 3", "batch = 2"),
        ["training.batch"],
        ["training.batch: 3 then, 2 now"],
    ),
    "row": (
        lambda: data.write_text(POINTS + "0.1,0.1,0\n"),
        ["data", "task"],
        ["data.train.rows: 6 samples then, 7 samples now"],
    ),
}
for name, (change, keys, said) in changes.items():
    change()
    done = resumed(name)
    if keys is None:  # the seed was given beside the file, and still is
        assert done.returncode == 0 and done.stderr == "", (name, done.stderr)
        written(where)
        continue
    assert done.returncode == 2 and done.stdout == "", (name, done)
    for words in (*said, f"{where / name}.h5: its run was begun with another ", "goes on as it was logged"):
        assert words in done.stderr, (name, words, done.stderr)
    assert "ness train --from " in done.stderr, (name, done.stderr)
    named = named_in(done.stderr).split(",")
    assert all(any(one == key or one.startswith(key + ".") for key in keys) for one in named), (name, named)
    # A name that has nothing to do with it allows nothing.
    refused = resumed(name, "--changed", "training.epochs")
    assert refused.returncode == 2 and said[0] in refused.stderr, (name, refused.stderr)
    refused = resumed(name, "--changed", ",".join([*keys, "training.epochs"]))
    assert refused.returncode == 2 and "--changed training.epochs: nothing differs" in refused.stderr, refused
    allowed = resumed(name, "--changed", ",".join(keys))
    assert allowed.returncode == 0 and " differ" in allowed.stderr, (name, allowed.stderr)
    assert "the run goes on " in allowed.stderr, (name, allowed.stderr)
    written(where)
# All at once: one message, and what it says allows it.
for name in ("network", "rate", "batch", "label"):
    changes[name][0]()
done = resumed("all")
assert done.returncode == 2, done
for words in (said for name in ("network", "rate", "batch", "label") for said in changes[name][2]):
    assert words in done.stderr, (words, done.stderr)
allowed = resumed("all", "--changed", named_in(done.stderr))
assert allowed.returncode == 0, allowed.stderr
written(where)
# The seed, where it was the file's.
own_seed = where / "own-seed.h5"
stopped(own_seed, experiment)
edited(experiment, "seed = 3", "seed = 4")()
refused = run("train", "--resume", own_seed, "-q", expect=2).stderr
assert "seed: 3 then, 4 now" in refused and refused.rstrip().endswith("--changed seed"), refused
written(where)
# Another program. (The run goes on with this one, which is the same.)
kept = log.read_bytes()
other_version(log)
refused = resumed("version")
assert refused.returncode == 2, refused
assert "begun with another program" in refused.stderr and "versions.ness: 0.0.9 then, " in refused.stderr
assert "--from" not in refused.stderr, refused.stderr
allowed = resumed("version", "--changed", "versions.ness")
assert allowed.returncode == 0 and "the run goes on with this one" in allowed.stderr, allowed.stderr
log.write_bytes(kept)
# An experiment that is gone, or none any more, or without its data, is no reason; another key still is.
experiment.write_text("title = ")
allowed = resumed("unreadable")
assert allowed.returncode == 0 and f"{experiment} cannot be read as it was" in allowed.stderr, allowed.stderr
assert len(allowed.stderr.splitlines()) == 1, allowed.stderr
written(where)
data.unlink()
allowed = resumed("no-data")
assert allowed.returncode == 0 and str(data) in allowed.stderr, allowed.stderr
edited(experiment, "batch = 3", "batch = 2")()
refused = resumed("no-data-and-batch")
assert refused.returncode == 2 and refused.stderr.rstrip().endswith("--changed training.batch"), refused
experiment.unlink()
network.unlink()
assert resumed("gone").stderr == ""

# On a bench: its scale, and its wiring.
bench, on_bench = experiments / "bench-emulated.toml", experiments / "xor-bench.toml"
log, emulated = scratch / "bench.h5", ("--device", "emulated", "--no-check", "--bench")
stopped(log, on_bench, *emulated, bench, "--set", "training.target_loss=0")
text = bench.read_text().replace('experiment = "xor', f'experiment = "{experiments}/xor')
other = scratch / "other.toml"
for old, new, said in (
    ("volts_per_kT = 0.1", "volts_per_kT = 0.2", "scale.volts_per_kT: 0.1 then, 0.2 now"),
    ("channel = 101", "channel = 104", "wiring.read-2.channel: 101 then, 104 now"),
):
    assert old in text, old
    other.write_text(text.replace(old, new, 1))
    refused = run("train", "--resume", log, *emulated, other, "-q", expect=2).stderr
    assert said in refused and "begun with another bench" in refused, refused
    assert said.partition(":")[0] in named_in(refused).split(","), refused
print("12 changes refused with their keys, and allowed by name")
