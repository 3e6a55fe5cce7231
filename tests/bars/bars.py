"""Measures the rows of docs/evidence.md: each group runs its commands on real input, and its rows are
compared with their bars.

   bars.py --build BUILD_DIRECTORY [--out FILE.json] [GROUP ...]      (tools/test --bars [GROUP ...])

Prints a table; the exit code is the number of rows that fall short. The groups are those of the table below,
each a function of the module that is named after its subject; evidence.py records what they measure.
"""
import argparse
import dataclasses
import json
import pathlib
import sys

import bench
import damage
import learning
import log
import noise
import real_data
import resume
import speed
import truth
import twin
from figures import Measurement

groups = {
    "xor": learning.xor,
    "regression": learning.regression,
    "truth": truth.truth,
    "solver": truth.solver,
    "branches": truth.branches,
    "extremes": truth.extremes,
    "ep": truth.ep,
    "gradients": truth.gradients,
    "errors": truth.errors,
    "corrected": truth.corrected,
    "noise": noise.noise,
    "noise-regression": noise.noise_regression,
    "drift": noise.drift,
    "baseline": noise.baseline,
    "log": log.log,
    "replay": log.replay,
    "resume": resume.resume,
    "repair": damage.repair,
    "bits": damage.bits,
    "power": damage.power,
    "bad-input": bench.bad_input,
    "bench": bench.bench,
    "bench-estimators": bench.bench_estimators,
    "same-loop": bench.same_loop,
    "calibration": twin.calibration,
    "lattices": speed.lattices,
    "fast-paths": speed.fast_paths,
    "targets": speed.targets,
    "log-rate": speed.log_rate,
    "settling": bench.settling,
    "safe": bench.safe,
    "check": bench.check,
    "wire": bench.wire,
    "overlap": bench.overlap,
    "raw-speed": bench.raw_speed,
    "mnist": learning.mnist,
    "mnist-in-situ": learning.mnist_in_situ,
    "real-data": real_data.real_data,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    options = parser.parse_args()
    for name in options.groups:
        if name not in groups:
            parser.error(f"no group '{name}': there are {', '.join(groups)}")
    bars = Measurement(options.build.resolve())
    for name in options.groups or groups:
        try:
            groups[name](bars)
        except Exception as error:  # a group that cannot be measured is not met; the others still are
            bars.report(name, "unmeasured", "could not be measured", "", [], False, str(error)[:400])
    if options.out:
        options.out.write_text(json.dumps([dataclasses.asdict(row) for row in bars.rows], indent=1))
    short = sum(not row.met for row in bars.rows)
    print(f"{len(bars.rows)} rows, {short} short of their bars")
    return min(short, 100)


if __name__ == "__main__":
    sys.exit(main())
