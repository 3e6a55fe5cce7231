#!/usr/bin/python3
"""Makes the corpus of old files with the program of before: logs, and what that program says of them.

    make.py NESS

NESS is the `ness` of commit ef2eeea. Everything is made in an empty directory from relative paths, so that no
log names a directory of a machine. Which machine makes it decides the vector targets: most logs ask for AVX2,
which most machines have."""
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
program = os.path.abspath(sys.argv[1])
scratch = pathlib.Path(tempfile.mkdtemp(prefix="ness-corpus-"))
AVX2 = ["solver.vector_target=AVX2"]
ON_A_BENCH = ["--device", "emulated", "--bench", "bench-emulated.toml", "--no-check"]
ON_SOURCE_METERS = ["--device", "emulated", "--bench", "bench-emulated-source-meters.toml", "--no-check"]


def write_images():
    """40 images of 6 x 6 pixels and 3 classes, as four IDX files."""
    drawn = random.Random(1)
    directory = here / "files" / "images"
    directory.mkdir(exist_ok=True)
    for name, count in (("train", 30), ("t10k", 10)):
        labels = [k % 3 for k in range(count)]
        pixels = bytes(drawn.randrange(100) + 150 * (i // 12 == label) for label in labels for i in range(36))
        for kind, magic, shape, values in (
            ("images-idx3", 0x803, (count, 6, 6), pixels),
            ("labels-idx1", 0x801, (count,), bytes(labels)),
        ):
            header = struct.pack(">I", magic) + b"".join(struct.pack(">I", n) for n in shape)
            (directory / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values, mtime=0))


def ness(*words, code=0):
    done = subprocess.run(
        ["ness", *map(str, words)], executable=program, cwd=scratch, capture_output=True, text=True
    )
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout


def answer(*words, code=0):
    result = json.loads(ness(*words, "--json", code=code))
    for key in ("log", "seconds"):
        result.pop(key, None)
    return result


def train(name, file, settings, more=()):
    words = ["train", file, *more, *[word for setting in settings for word in ("--set", setting)]]
    return words, answer(*words, "--log", f"{name}.h5", "-q")


def stopped(name, file, settings, how, seconds, more=()):
    """A run that a signal ends on its way; its log is cut off from the run that went on to the end."""
    words = ["train", file, *more, *[word for setting in settings for word in ("--set", setting)]]
    for attempt in range(40):
        log = scratch / f"{name}.h5"
        log.unlink(missing_ok=True)
        process = subprocess.Popen(
            ["ness", *words, "--log", log.name, "-q"],
            executable=program,
            cwd=scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds * (0.3 + attempt % 10 / 5))
        process.send_signal(how)
        process.wait()
        if not log.exists():
            continue
        found = json.loads(ness("inspect", log.name, "--json"))
        if found["status"] != "finished" and found["steps"] > 3 and found["checkpoints"] > 0:
            return
    raise SystemExit(f"{name}: was never stopped half-way")


expected = {"made by": ness("--version").strip(), "files": {}, "logs": {}, "networks": {}}
write_images()
shutil.copytree(here / "files", scratch, dirs_exist_ok=True)

runs = {
    "xor": ("xor.toml", ["training.epochs=30"]),
    "momentum": (
        "xor.toml",
        ["training.epochs=8", "optimizer.kind=momentum", "optimizer.schedule.kind=cosine", *AVX2],
    ),
    "descent": (
        "xor.toml",
        ["training.epochs=8", "optimizer.kind=sgd", "optimizer.schedule.kind=spsa", *AVX2],
    ),
    "present": ("xor.toml", ["training.epochs=4", "training.start=present", *AVX2]),
    "ramped": ("xor.toml", ["training.epochs=4", "training.rest_rate=5", *AVX2]),
    "outputs": ("xor.toml", ["training.epochs=8", "log.rows=outputs", *AVX2]),
    "digests": ("xor.toml", ["training.epochs=8", "log.full_theta=0", *AVX2]),
    "foreground": ("xor.toml", ["training.epochs=8", "log.background=false", "log.group_rows=1", *AVX2]),
    "quantum-dot": ("regression-quantum-dot.toml", ["training.epochs=2", *AVX2]),
    "enzyme": ("regression-enzyme.toml", ["training.epochs=2", *AVX2]),
    "noisy": (
        "regression-noisy.toml",
        ["training.epochs=1", "task.points=6", "estimator.kind=ep-centred", *AVX2],
    ),
    "images": ("images.toml", ["task.data=/proc/self/cwd/images"]),
    "images-double": (
        "images.toml",
        [
            "task.data=/proc/self/cwd/images",
            "training.epochs=1",
            "solver.batches=double",
            "solver.tolerance=1e-8",
        ],
    ),
    "points": ("points.toml", AVX2),
    "classes": (
        "points.toml",
        [
            'task.targets=["class"]',
            "task.classes=2",
            "network.layers=[2,3,2]",
            "loss.kind=cross-entropy",
            *AVX2,
        ],
    ),
    "network": ("network.toml", AVX2),
    "shortcomings": ("shortcomings.toml", ["training.epochs=3"]),
    "bench": ("xor-bench.toml", ["training.epochs=4"], ON_A_BENCH),
    "bench-differences": (
        "xor-bench.toml",
        ["training.epochs=2", "estimator.kind=fd-central", "estimator.step=0.05", *AVX2],
        ON_A_BENCH,
    ),
    "bench-conductance": (
        "xor-bench.toml",
        ["training.epochs=2", "estimator.kind=conductance-tracked", *AVX2],
        ON_SOURCE_METERS,
    ),
    "bench-every-key": (
        "xor-bench.toml",
        ["training.epochs=2", *AVX2],
        ["--device", "emulated", "--bench", "every-key-bench.toml"],
    ),
    "variation": (
        "xor-bench.toml",
        ["training.epochs=40", "device.variation=0.05", "device.read_noise=1e-3", *AVX2],
    ),
    "twin": ("twin.toml", ["training.epochs=4"]),
}
for target in ("AVX3_DL", "AVX3", "SSE4", "SSSE3", "SSE2"):
    runs[f"target-{target}"] = ("xor.toml", ["training.epochs=4", f"solver.vector_target={target}"])
keys = {
    "ep-random-sign": [],
    "ep-one-sided": ["nudge=0.1"],
    "ep-centred": ["nudge=0.1"],
    "ep-richardson": [],
    "ep-corrected": ["rounds=2", "skew=measured", "measure_every=2", "probe=0.2", "contraction=0.8"],
    "coupled": ["eta=0.3", "central=false"],
    "probing": ["probe=0.1"],
    "probing-tracked": ["measure_every=2", "reset=0.4"],
    "conductance": ["refresh=2"],
    "conductance-tracked": ["central=false"],
    "fd-forward": ["step=0.3"],
    "fd-central": ["step=0.3"],
    "spsa": ["c=0.1", "gamma=0.2", "directions=2", "blocking=true", "block=3"],
    "walsh": ["step=0.05"],
    "evolution": ["population=10", "parents=3", "sigma=0.2", "crossover=0.6"],
    "adjoint": [],
}
for kind, own in keys.items():
    runs[f"estimator-{kind}"] = (
        "xor-noisy.toml",
        ["training.epochs=2", f"estimator.kind={kind}", *[f"estimator.{key}" for key in own], *AVX2],
    )


for name, run in runs.items():
    if name == "twin":  # of the run before it
        (scratch / "twin.toml").unlink(missing_ok=True)
        calibrated = answer("calibrate", "variation.h5", "--rows", 150, "--out", "twin.toml")
        shutil.copy(scratch / "twin.toml", here / "files")
    try:
        command, result = train(name, *run)
    except AssertionError as error:
        if not name.startswith("target-"):
            raise
        print("left out:", name, str(error)[:200])
        continue
    expected["logs"][name] = {"trained": result, "command": command}
expected["logs"]["variation"]["calibrated"] = {
    "rows": calibrated["rows"],
    "unknowns": calibrated["unknowns"],
    "noise": calibrated["noise"],
}

# Runs that a signal stopped, with the end of the run that was not stopped.
interrupted = {
    "stopped": (
        "xor-noisy.toml",
        ["training.epochs=150", "training.target_loss=1e-30", "training.checkpoint_every=20", *AVX2],
        signal.SIGINT,
        0.1,
    ),
    "stopped-natural": (
        "xor.toml",
        ["training.epochs=700", "training.target_loss=0", "training.checkpoint_every=100"],
        signal.SIGTERM,
        0.12,
    ),
    "killed": (
        "xor-noisy.toml",
        [
            "training.epochs=250",
            "training.start=last",
            "training.target_loss=1e-30",
            "training.checkpoint_every=20",
            "log.group_rows=8",
            *AVX2,
        ],
        signal.SIGKILL,
        0.1,
    ),
    "killed-drifting": (
        "shortcomings.toml",
        [
            "training.epochs=16",
            "budget.relaxations=0",
            "training.start=rest",
            "training.checkpoint_every=2",
            "log.group_rows=8",
        ],
        signal.SIGKILL,
        0.3,
    ),
}
for name, (file, settings, how, seconds) in interrupted.items():
    command, whole = train(f"{name}-whole", file, settings)
    stopped(name, file, settings, how, seconds)
    expected["logs"][name] = {"command": command, "whole": whole}
stopped("stopped-bench", "xor-bench.toml", ["training.epochs=15", *AVX2], signal.SIGINT, 0.6, ON_A_BENCH)
expected["logs"]["stopped-bench"] = {"command": ["train", "xor-bench.toml", *ON_A_BENCH]}


# A file that lost its end, where nothing that counts stood there.
def truncated():
    for of in ("stopped", "stopped-natural", "killed", "killed-drifting", "xor", "foreground", "bench"):
        data = (scratch / f"{of}.h5").read_bytes()
        for lost in (700, 64, 8, 1):
            (scratch / "truncated.h5").write_bytes(data[:-lost])
            codes = [
                subprocess.run(
                    ["ness", "inspect", "truncated.h5", *more],
                    executable=program,
                    cwd=scratch,
                    capture_output=True,
                ).returncode
                for more in ([], ["--repair"])
            ]
            if codes == [1, 0]:
                (scratch / "truncated.h5").write_bytes(data[:-lost])
                return {"command": expected["logs"][of]["command"], "of": of, "lost": lost}
    raise SystemExit("no log can be truncated and repaired")


expected["logs"]["truncated"] = truncated()

for name, entry in expected["logs"].items():
    log = f"{name}.h5"
    packed = gzip.compress((scratch / log).read_bytes(), 9, mtime=0)
    (here / "logs").mkdir(exist_ok=True)
    if "lost" not in entry:
        (here / "logs" / f"{log}.gz").write_bytes(packed)
    else:
        ness("inspect", log, "--repair")
    entry["inspected"] = answer("inspect", log)
    entry["evaluated"] = answer("evaluate", log)
    entry["replayed"] = answer("replay", log) if name != "outputs" else None
    del entry["inspected"]["command"]

# Every experiment file is loaded and trained a little. MNIST's are: the test makes images of 28 x 28.
for path in sorted((here / "files").glob("*.toml")):
    text = path.read_text()
    if re.search(r"^\[instruments\.", text, re.M):
        expected["files"][path.name] = {"kind": "bench"}
    elif path.stem in ("images", "points"):
        expected["files"][path.name] = {"kind": "experiment", "log": path.stem}
    elif path.stem.startswith("mnist"):
        expected["files"][path.name] = {"kind": "mnist"}
    else:
        found = answer(
            "train",
            path.name,
            "--set",
            "training.epochs=1",
            "--set",
            *AVX2,
            "--log",
            f"file-{path.stem}.h5",
            "-q",
        )
        expected["files"][path.name] = {"kind": "experiment", "trained": found}
for name, levels in (("network.json", "0.5,-1"), ("resistor.json", "2")):
    expected["networks"][name] = {"clamp": levels, "solved": answer("solve", name, "--clamp", levels)}

(here / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
shutil.rmtree(scratch)
