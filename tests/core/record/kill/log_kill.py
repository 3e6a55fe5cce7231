"""Kills a process that writes a log, at random moments, and looks at what is left with
h5py and with the reader.

    log_kill.py PATH_OF_log_victim KILLS [SEED]

After each kill: the file opens, every row that was acknowledged is counted, and every counted row is whole:
each value is the function of the row's index that log_victim.cpp states, and its CRC fits. Half of the
files are then continued.
"""
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib

import h5py
import numpy as np


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def check_list(group, name, rows, has, length, value):
    """A list of `length` entries in the rows where `has`: entry k of row i is value(i, k)."""
    i = np.arange(rows)
    lengths = np.where(has(i), length, 0)
    ends = np.cumsum(lengths)
    expect(np.array_equal(group[name + "_end"][:rows], ends), f"{name}_end differs")
    row = np.repeat(i, lengths)
    entry = np.arange(len(row)) % length
    expect(np.array_equal(group[name][: len(row)], value(row, entry)), f"{name} differs")


def check_rows(log, rows):
    group = log["entry/relaxations"]
    i = np.arange(rows, dtype=np.uint64)
    x = i.astype(float)
    columns = {
        "theta_digest": i * np.uint64(0x9E3779B97F4A7C15),
        "pattern_set": np.zeros(rows),
        "pattern_row": i % 4,
        "purpose": np.ones(rows),
        "position": i % 3,
        "step": i // 7,
        "sample": i,
        "start": np.zeros(rows),
        "rest_rate": np.full(rows, np.inf),
        "observe": np.zeros(rows),
        "observe_samples": np.ones(rows),
        "potential": x[:, None] + np.arange(5)[None, :],
        "flags": np.zeros(rows),
        "time_start": x,
        "time_settled": x + 0.25,
        "time_read": x + 0.5,
        "time_bound": 1 / (x + 1),
    }
    for name, values in columns.items():
        expect(len(group[name]) >= rows, f"{name} has {len(group[name])} rows, {rows} are counted")
        expect(np.array_equal(group[name][:rows], values), f"column {name} differs")
    check_list(group, "nudge", rows, lambda i: i % 3 == 1, 2, lambda i, k: i + k)
    check_list(group, "override_index", rows, lambda i: i % 5 == 2, 2, lambda i, k: k + 1)
    check_list(group, "override_value", rows, lambda i: i % 5 == 2, 2, lambda i, k: i * (1 - 2.0 * k))
    check_list(group, "sigma", rows, lambda i: i % 2 == 1, 5, lambda i, k: k - i)
    ends = np.concatenate([[0], group["fault_end"][:rows]]).astype(int)
    for row in range(10, rows, 11)[-50:]:
        fault = bytes(group["fault"][ends[row] : ends[row + 1]]).decode()
        expect(fault == f"fault {row}", f"fault of row {row} is '{fault}'")


def check_crc(log, rows):
    """By the file's own description alone."""
    group = log["entry/relaxations"]
    first = max(0, rows - 500)
    names = text(group["crc32"].attrs["covers"]).split()
    columns = [name for name in names if name + "_end" not in names]
    lists = [name for name in names if name + "_end" in names]
    values = {name: group[name][first:rows] for name in columns}
    begin = {name: group[name + "_end"][first - 1] if first else 0 for name in lists}
    ends = {name: np.concatenate([[begin[name]], values[name + "_end"]]).astype(int) for name in lists}
    parts = {name: group[name][ends[name][0] : ends[name][-1]] for name in lists}
    crc = group["crc32"][first:rows]
    for k in range(rows - first):
        data = b"".join(values[name][k].tobytes() for name in columns)
        for name in lists:
            e = ends[name] - ends[name][0]
            data += parts[name][e[k] : e[k + 1]].tobytes()
        expect(zlib.crc32(data) == crc[k], f"CRC of row {first + k} fails")


def check_steps(log, steps):
    group = log["entry/training"]
    i = np.arange(steps)
    expect(np.array_equal(group["step"][:steps], i), "column step differs")
    expect(np.array_equal(group["loss"][:steps], 1 / (i + 1.0)), "column loss differs")
    expect(
        np.array_equal(group["theta"][:steps], i[:, None] + np.arange(3.0)[None, :]), "column theta differs"
    )


def check_default_plot(log, steps):
    """A NeXus viewer follows the default attributes to a signal and its axis."""
    entry = log[text(log.attrs["default"])]
    expect(text(entry.attrs["NX_class"]) == "NXentry", "the default of the file is no NXentry")
    data = entry[text(entry.attrs["default"])]
    expect(text(data.attrs["NX_class"]) == "NXdata", "the default of the entry is no NXdata")
    signal, axis = data[text(data.attrs["signal"])], data[text(data.attrs["axes"])]
    expect(
        signal.name == "/entry/training/loss" and axis.name == "/entry/training/step",
        "the default plot is not the loss",
    )
    # A kill can come between two columns: what is not counted may be in one of them alone.
    lengths = signal.shape[0], axis.shape[0]
    expect(min(lengths) >= steps, f"the loss and its axis have {lengths} entries, {steps} are counted")


def check_units(log):
    def visit(name, thing):
        if isinstance(thing, h5py.Dataset) and thing.dtype.kind in "iuf":
            expect("units" in thing.attrs, f"{name} has no units")

    log.visititems(visit)


def kill_once(victim, path, group_rows, chance):
    """Acknowledged rows. The process is killed while it writes."""
    process = subprocess.Popen([victim, "write", path, str(group_rows)], stdout=subprocess.PIPE)
    first = process.stdout.readline()
    expect(first.endswith(b"\n"), "the victim ended by itself")
    time.sleep(chance.uniform(0, 0.08))
    process.kill()
    rest, _ = process.communicate()
    expect(process.returncode == -9, f"the victim ended by itself: {process.returncode}")
    lines = (first + rest).split(b"\n")[:-1]  # what follows the last line feed was not said
    return int(lines[-1])


def main():
    victim, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    chance = random.Random(seed)
    ragged = 0
    with tempfile.TemporaryDirectory(prefix="ness-kill-") as folder:
        path = os.path.join(folder, "run.h5")
        for kill in range(kills):
            group_rows = chance.choice([1, 3, 100, 16384])
            acknowledged = kill_once(victim, path, group_rows, chance)
            where = f"kill {kill}, groups of {group_rows}, {acknowledged} rows acknowledged"
            try:
                with h5py.File(path, "r", locking=False) as log:
                    rows, steps = (int(n) for n in log["committed"][:2])
                    expect(rows >= acknowledged, f"{rows} rows are counted")
                    check_rows(log, rows)
                    check_crc(log, rows)
                    check_steps(log, steps)
                    if kill == 0:
                        check_default_plot(log, steps)
                        check_units(log)
                        subprocess.run(["h5dump", "-H", path], check=True, stdout=subprocess.DEVNULL)
                read = subprocess.run(
                    [victim, "check", path], check=True, capture_output=True, text=True
                ).stdout.split()
                # The reader completes a flush that was in the journal when the process died.
                expect(
                    int(read[0]) >= rows and int(read[1]) >= steps and read[2] == "0",
                    f"the reader says {read}, expected {rows} rows, {steps} steps or more, 0 damaged",
                )
                ragged += int(read[3]) > 0
            except Exception as error:
                raise SystemExit(f"{where}: {error!r}") from error
            if chance.random() < 0.5 or rows > 300_000:
                os.remove(path)
    print(
        f"{kills} kills: every file opened, every counted row was whole; "
        f"{ragged} files had rows beyond the counts"
    )


if __name__ == "__main__":
    main()
