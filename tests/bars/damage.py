"""The rows of damaged logs: files that lost their end, single wrong bits, lost power.

    damage.py --build BUILD_DIRECTORY [KILLS [FLIPS]]      the short form
"""
import argparse
import json
import os
import pathlib
import random
import sys

from figures import FIRST_SEED, Measurement, count, of_all, spread
from resume import BATCHES, DISTURBANCES, ESTIMATORS, Case, columns, differences


def killed_log(bars, rng, i):
    case = Case(
        bars,
        ESTIMATORS[i % len(ESTIMATORS)],
        BATCHES[(i // len(ESTIMATORS) + i) % len(BATCHES)],
        list(DISTURBANCES)[(i // 3) % len(DISTURBANCES)],
        (1, 5, 64)[i % 3],
    )
    log = bars.scratch / f"cut-{i}.h5"
    for _ in range(8):
        if case.killed(log, rng.randrange(1, case.counts["relaxations"] * 9 // 10)):
            return case, log
        log.unlink(missing_ok=True)
    raise RuntimeError(f"{case.name}: ended before it could be killed")


def measure_repair(bars, kills):
    rng = random.Random(FIRST_SEED)
    repaired, with_checkpoint, equal, header_lost, shares, faults = 0, 0, 0, 0, [], []
    for i in range(kills):
        case, log = killed_log(bars, rng, i)
        whole = os.path.getsize(log)
        cut = rng.randrange(1, whole)
        os.truncate(log, cut)
        where = f"{case.name}, cut to {cut:,} of {whole:,} bytes"
        done = bars.run(bars.ness, "inspect", "--repair", log, "--json", check=False)
        if not done.stdout:
            header_lost += 1
            # Header and journal are its first 2.7 MB.
            if len(done.stderr.strip().splitlines()) != 1 or cut > 1_500_000:
                faults.append(f"{where}: {done.stderr.strip()[-200:]}")
        else:
            repaired += 1
            shares.append(cut / whole)
            kept = json.loads(done.stdout)["repair"]
            with_checkpoint += kept["checkpoints_kept"] > 0
            inspected = bars.run(bars.ness, "inspect", log, "--json", check=False)
            resumed = bars.run(bars.ness, "train", "--resume", log, "-q", check=False)
            wrong = differences(case, log) if resumed.returncode == 0 else [resumed.stderr.strip()[-200:]]
            if inspected.returncode != 0:
                wrong.append(f"inspect: {inspected.stderr.strip()[-200:]}")
            equal += not wrong
            if wrong:
                faults.append(f"{where}: {', '.join(wrong[:3])}")
        for path in log.parent.glob(log.name + "*"):
            path.unlink()
    bars.report(
        "repair",
        "cuts",
        f"{kills} SIGKILLs of a training, each file cut at a random byte",
        "repaired unless its header is lost; inspected; resumed, bit-equal to a run that was not interrupted",
        [
            count("repaired", repaired, kills, "cuts"),
            of_all("resumed and bit-equal", equal, max(repaired, 1), "repaired ones"),
            count("with a whole checkpoint", with_checkpoint, max(repaired, 1), "repaired ones"),
            spread("share of the file that was left", shares or [0], ".2f", of="repaired ones"),
        ],
        equal == repaired > 0 and not faults,
        "; ".join(faults[:3]),
    )


def measure_bits(bars, flips):
    rng = random.Random(FIRST_SEED)
    case = Case(bars, "adjoint", "off", "noise", 1)
    log, folder = bars.scratch / "bits.h5", bars.scratch / "bits"
    while not case.killed(log, case.counts["relaxations"] * 17 // 20):
        log.unlink()
    folder.mkdir()
    done = bars.run(
        bars.build / "tests" / "ness-bar-bits", log, flips, rng.randrange(10**6), folder, check=False
    )
    if not done.stdout:
        raise RuntimeError(done.stderr[-400:])
    found = json.loads(done.stdout)
    rows = columns(log)[0]["relaxations"]
    reported = found["reported"]
    bars.report(
        "bits",
        "flips",
        f"{flips:,} single wrong bits of a log of {rows:,} rows, a third in "
        "bookkeeping and header; inspect, evaluate, replay, resume, repair",
        "each is reported, or changes no answer; a repair puts it right",
        [
            of_all("other answers", found["wrong"], 5 * flips, "answers"),
            of_all("not put right by a repair", found["not_mended"], flips, "bits"),
            count("reported by inspect", reported.get("inspect", 0), flips, "bits"),
            count("reported by resume", reported.get("resume", 0), flips, "bits"),
        ],
        found["wrong"] == 0 and found["not_mended"] == 0,
        str(found["wrong_at"][:3]) if found["wrong"] else "",
    )


def measure_power(bars, prefixes):
    done = bars.run(
        "env",
        f"NESS_POWER_LOSSES={prefixes}",
        bars.build / "tests" / "test_record",
        "with fsync no committed row is lost with the power",
        check=False,
    )
    bars.report(
        "power",
        "fsync",
        "losses of power at a random write of a log with durability = 'fsync'; of what was not synced, each "
        "write lost or in another order",
        "no acknowledged row is lost",
        [of_all("without a loss", prefixes if done.returncode == 0 else 0, prefixes, "losses of power")],
        done.returncode == 0,
        done.stdout[-300:] if done.returncode else "",
    )


def repair(bars):
    measure_repair(bars, 200)


def bits(bars):
    measure_bits(bars, 10_000)


def power(bars):
    measure_power(bars, 1000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("kills", type=int, nargs="?", default=8)
    parser.add_argument("flips", type=int, nargs="?", default=60)
    options = parser.parse_args()
    short = Measurement(options.build.resolve())
    measure_repair(short, options.kills)
    measure_bits(short, options.flips)
    sys.exit(not all(row.met for row in short.rows))
