"""The row of resumed runs: `ness train` is killed (SIGKILL) at random rows and resumed; then every column of
its log, but wall time, has the bits of a run that was not interrupted.

    resume.py --build BUILD_DIRECTORY [KILLS]      the short form; the bar kills 200 times
"""
import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import time

import h5py
import numpy

from figures import FIRST_SEED, Measurement, count, of_all, root, sets, spread

EXPERIMENT = """title = "resumed"
[network]
law = "quantum-dot"
layers = [1, 4, 1]
[parameters.gamma]
value = 1.0
range = [1e-3, 100.0]
[parameters.a]
normal = [0.0, 2.0]
trainable = false
[parameters.b]
normal = [0.0, 1.0]
trainable = false
[parameters.g]
value = 1.0
trainable = false
[parameters.mu_ref]
value = 0.0
trainable = false
[task]
kind = "regression"
points = 40
hold_out_every = 0
validate_first = 1
validate_every = 5
input_scale = 2.0
[optimizer]
rate = 0.02
[training]
batch = 16
validate_every = 2
"""
ESTIMATORS = (
    "adjoint",
    "fd-forward",
    "fd-central",
    "ep-one-sided",
    "ep-centred",
    "ep-random-sign",
    "ep-richardson",
    "ep-corrected",
    "coupled",
    "probing",
    "probing-tracked",
    "conductance",
    "conductance-tracked",
    "spsa",
    "walsh",
    "evolution",
)
COSTLY = ("fd-forward", "fd-central", "walsh", "evolution", "conductance", "probing")  # relaxations a sample
NOISE = ("device.read_noise=1e-3",)
DISTURBANCES = {
    "nothing": (),
    "noise": NOISE,
    "drift": (*NOISE, "device.drift=1e-5", "device.drift_rate=1e-6", "drift.reference_every=2"),
    "jumps": (*NOISE, "device.jump_rate=1e-3", "device.jump_size=0.1", "device.write_noise=1e-4"),
}
BATCHES = ("off", "double", "single")
ROWS = 3000  # of a run, about: an epoch of an estimator that asks for little is short
TABLES = ("relaxations", "training", "epochs", "checkpoints")


def columns(log):
    """Every column but wall time, and the CRC that covers it; and where the groups of relaxations end."""
    with h5py.File(log, "r", locking=False) as file:
        counts = dict(zip(TABLES, (int(n) for n in file["/committed"][:])))
        found = {}
        for table in TABLES:
            for name, column in file["entry"][table].items():
                if name in ("recorded", "crc32"):
                    continue
                ends = file["entry"][table].get(name + "_end")
                n = counts[table] if ends is None or not counts[table] else int(ends[counts[table] - 1])
                found[table, name] = column[:n].tobytes()
        return counts, found


class Case:
    """One experiment, and what came of it where nothing happened."""

    def __init__(self, bars, estimator, batches, disturbance, group_rows):
        self.bars = bars
        self.name = f"{estimator}, batches {batches}, {disturbance}"
        self.experiment = bars.scratch / "resume.toml"
        self.experiment.write_text(EXPERIMENT)
        cost = 16 if estimator in COSTLY else 2
        self.settings = [
            f'estimator.kind="{estimator}"',
            f'solver.batches="{batches}"',
            f"log.group_rows={group_rows}",
            f"training.epochs={max(4, ROWS // (32 * cost))}",
            *DISTURBANCES[disturbance],
        ]
        self.whole = bars.scratch / f"whole-{estimator}-{batches}-{disturbance}-{group_rows}.h5"
        if not self.whole.exists():
            subprocess.run(self.command(self.whole), check=True, capture_output=True, cwd=root)
        self.counts, self.columns = columns(self.whole)
        with h5py.File(self.whole, "r", locking=False) as file:
            self.place = file["/committed"].id.get_offset()
            rows = file["entry/relaxations"]
            n = self.counts["relaxations"]
            label = numpy.stack([rows[key][:n] for key in ("step", "purpose", "position")])
        self.within = (label[:, 1:] == label[:, :-1]).all(axis=0)  # a kill after row i + 1 is within a group

    def command(self, log):
        return [
            str(self.bars.ness),
            "train",
            str(self.experiment),
            "--log",
            str(log),
            "--seed",
            str(FIRST_SEED),
            "-q",
            *sets(self.settings),
        ]

    def killed(self, log, row):
        """Kills the run once so many rows are counted; false if it had ended."""
        run = subprocess.Popen(
            self.command(log), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=root
        )
        deadline = time.time() + 300
        while not log.exists() and run.poll() is None and time.time() < deadline:
            time.sleep(0.001)
        if not log.exists():
            raise RuntimeError(f"{self.name}: no log: {run.communicate()[1].strip()[-200:]}")
        file = os.open(log, os.O_RDONLY)
        try:
            while run.poll() is None and time.time() < deadline:
                found = os.pread(file, 8, self.place)
                if len(found) == 8 and struct.unpack("<Q", found)[0] >= row:
                    break
            run.kill()
            run.communicate()
            return run.returncode < 0
        finally:
            os.close(file)


def differences(case, log):
    counts, found = columns(log)
    if counts != case.counts:
        return [f"rows {counts}, expected {case.counts}"]
    return [f"{table}/{name}" for (table, name), bits in case.columns.items() if found[table, name] != bits]


def measure(bars, kills):
    rng = random.Random(FIRST_SEED)
    equal, within, again, rows, faults, made = 0, 0, 0, [], [], 0
    for i in range(kills):
        # Every estimator with and without batches before any comes again.
        estimator = ESTIMATORS[i % len(ESTIMATORS)]
        batches = BATCHES[(i // len(ESTIMATORS) + i) % len(BATCHES)]
        disturbance = list(DISTURBANCES)[(i // 3) % len(DISTURBANCES)]
        case = Case(bars, estimator, batches, disturbance, (1, 5, 64)[i % 3])
        log = bars.scratch / f"killed-{i}.h5"
        for _ in range(8):
            if case.killed(log, rng.randrange(1, case.counts["relaxations"] * 9 // 10)):
                break
            log.unlink(missing_ok=True)
        else:
            faults.append(f"{case.name}: ended before it could be killed")
            continue
        made += 1
        row = columns(log)[0]["relaxations"]
        rows.append(row)
        within += bool(0 < row < case.counts["relaxations"] and case.within[row - 1])
        resumed = bars.run(bars.ness, "train", "--resume", log, "-q", check=False)
        wrong = differences(case, log) if resumed.returncode == 0 else [resumed.stderr.strip()[-200:]]
        equal += not wrong
        if wrong:
            faults.append(f"{case.name}, killed after row {row}: {', '.join(wrong[:4])}")
        replayed = bars.run(bars.ness, "replay", log, "--relax", "--json", check=False)
        told = json.loads(replayed.stdout)["equal"] if replayed.stdout else False
        again += told
        if not told:
            faults.append(f"{case.name}, killed after row {row}: replay: {replayed.stderr.strip()[-200:]}")
        log.unlink()
    bars.report(
        "resume",
        "kills",
        f"{kills} SIGKILLs of a training at random rows, each resumed; batches on and off, noise, drift, "
        f"jumps, {len(ESTIMATORS)} estimators",
        "every column but wall time bit-equal to a run that was not interrupted, and to what the device "
        "gives",
        [
            of_all("bit-equal", equal, kills, "kills"),
            of_all("whose rows the device gives again", again, kills, "kills"),
            count("within a group of relaxations", within, max(made, 1), "kills"),
            spread("row of the kill", rows or [0], ",.0f", of="kills"),
        ],
        equal == again == kills and not faults,
        "; ".join(faults[:3]),
    )


def resume(bars):
    measure(bars, 200)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("kills", type=int, nargs="?", default=10)
    options = parser.parse_args()
    short = Measurement(options.build.resolve())
    measure(short, options.kills)
    sys.exit(not all(row.met for row in short.rows))
