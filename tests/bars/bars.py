"""Measures the figures of docs/evidence.md: each row runs its commands on real input and
is compared with its bar.

   bars.py --build BUILD_DIRECTORY [--out FILE.json] [ROW ...]      (tools/test --bars [ROW ...])

Rows: xor regression mnist truth solver branches extremes ep gradients errors corrected noise drift
baseline log replay bad-input bench bench-estimators same-loop calibration lattices fast-paths targets
log-rate settling safe check wire overlap raw-speed mnist-in-situ. Prints a table; the exit code is the
number of rows that fall short.
"""
import argparse
import concurrent.futures
import contextlib
import json
import math
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

root = pathlib.Path(__file__).resolve().parents[2]
experiments = root / "tools" / "experiments"
commands = root / "tests" / "tools" / "commands"
python = "/usr/bin/python3"


class Bars:
    def __init__(self, build):
        self.build = build
        self.ness = build / "tools" / "ness"
        self.tests = build / "tests"
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="ness-bars-"))
        self.rows = []

    def report(self, row, what, bar, figure, met):
        self.rows.append({"row": row, "what": what, "bar": bar, "figure": figure, "met": bool(met)})
        print(f"{'met  ' if met else 'SHORT'} | {row} | {what} | {bar} | {figure}", flush=True)

    def run(self, *command, check=True):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=root)
        if check and done.returncode != 0:
            raise RuntimeError(
                f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-2000:]}\n"
                f"{done.stderr[-2000:]}"
            )
        return done

    def seeds(self, experiment, n, *settings, first=0):
        command = [self.tests / "ness-seeds", experiments / experiment, "--seeds", n, "--first", first]
        for setting in settings:
            command += ["--set", setting]
        return sorted(
            (json.loads(line) for line in self.run(*command).stdout.splitlines()), key=lambda r: r["seed"]
        )

    def xor(self):
        def losses(lines):
            return [
                line["train"]["loss"]
                if line["train"]["loss"] is not None and line["train"]["failures"] == 0
                else float("inf")
                for line in lines
            ]

        free = losses(self.seeds("xor.toml", 100))
        solved = sum(x < 1e-3 for x in free)
        self.report(
            "xor",
            "all parameters, 100 seeds, cold starts",
            "loss < 1e-3 on >= 95",
            f"{solved} solved, median {statistics.median(free):.2g}",
            solved >= 95,
        )
        cooperative = self.seeds(
            "xor.toml",
            100,
            "parameters.b.value=0",
            "parameters.b.trainable=false",
            "training.target_loss=0",
            "training.epochs=2000",
        )
        c = losses(cooperative)
        bound = cooperative[0]["isotonic_bound"]
        within = statistics.median(c) <= 1.02 * bound
        self.report(
            "xor",
            "cooperative (b = 0), 100 seeds",
            "0 solved, never below 1/6, median within 2 %",
            f"{sum(x < 1e-3 for x in c)} solved, least {min(c):.6f} (bound {bound:.6f}), "
            f"median {statistics.median(c):.6f}",
            sum(x < 1e-3 for x in c) == 0 and min(c) >= bound * (1 - 1e-12) and within,
        )
        one = self.seeds(
            "xor.toml",
            100,
            "parameters.b.value=0",
            "parameters.b.trainable=false",
            "parameters.b.edge-4.normal=[0,1]",
            "parameters.b.edge-4.trainable=true",
            "training.epochs=2000",
        )
        o = losses(one)
        self.report(
            "xor",
            "one hidden-to-output NDC edge, 100 seeds",
            ">= 75",
            f"{sum(x < 1e-3 for x in o)} solved, "
            f"one NDC edge in {sum(line['ndc_edges'] == 1 for line in one)}",
            sum(x < 1e-3 for x in o) >= 75,
        )
        bench = losses(
            self.seeds(
                "xor.toml",
                100,
                "parameters.b.value=0",
                "parameters.b.trainable=false",
                "parameters.b.layer-2.value=-1",
                "parameters.g.trainable=false",
                "training.epochs=2000",
            )
        )
        self.report(
            "xor",
            "a, gamma, leak levels trained; b = 0 and -1, 100 seeds",
            ">= 95",
            f"{sum(x < 1e-3 for x in bench)} solved",
            sum(x < 1e-3 for x in bench) >= 95,
        )

    def regression(self):
        for name, bar in (("quantum-dot", 5e-4), ("enzyme", 3e-3)):
            started = time.time()
            lines = self.seeds(f"regression-{name}.toml", 8)
            test = [line["test"]["loss"] for line in lines]
            failures = sum(line[s]["failures"] for line in lines for s in ("train", "test"))
            self.report(
                "regression",
                f"{name}, seeds 0..7, test MSE",
                f"median <= {bar:g}",
                f"median {statistics.median(test):.2e}, min {min(test):.2e}, max {max(test):.2e}, "
                f"{failures} failures, {time.time() - started:.0f} s",
                statistics.median(test) <= bar and failures == 0,
            )
        lines = self.seeds(
            "regression-quantum-dot.toml",
            8,
            "parameters.b.value=0",
            "parameters.b.trainable=false",
            "parameters.a.layer-1.uniform=[-18,18]",
            "training.epochs=3000",
        )
        train, bound = [line["train"]["loss"] for line in lines], lines[0]["isotonic_bound"]
        self.report(
            "regression",
            "cooperative (b = 0), seeds 0..7, train MSE",
            "never below its isotonic bound",
            f"least {min(train):.4f}, bound {bound:.4f}",
            min(train) >= bound * (1 - 1e-12),
        )

    def mnist(self):
        def train(label, experiment, bar, *settings, limit=600):
            log = self.scratch / f"mnist-{label.replace(' ', '-')}.h5"
            command = [self.ness, "train", experiments / experiment, "--log", log, "--json"]
            for setting in settings:
                command += ["--set", setting]
            started = time.time()
            self.run(*command)
            seconds = time.time() - started
            result = json.loads(self.run(self.ness, "evaluate", log, "--json").stdout)
            accuracy, failures = result["test"]["accuracy"], result["test"]["failures"]
            met = True if bar is None else accuracy >= bar and seconds <= limit
            self.report(
                "mnist",
                f"{label}, 60,000/10,000 images, logged",
                "beside it"
                if bar is None
                else f"test accuracy >= {bar} in <= {limit} s"
                if limit < math.inf
                else f"test accuracy >= {bar}",
                f"test accuracy {accuracy:.4f}, {failures} of {result['test']['samples']} images failed, "
                f"{seconds:.0f} s, log {os.path.getsize(log) / 1e6:.0f} MB",
                met,
            )
            if bar is not None:
                self.report(
                    "solver",
                    "the 10,000 test images, cold",
                    "0 failures",
                    f"{failures} failures",
                    failures == 0,
                )
            log.unlink()

        train("n_h = 30, NDC", "mnist.toml", 0.967, limit=60)
        shifts = ["task.shifts=true", 'training.start="rest"']
        train(
            "n_h = 30, NDC, shifts, 40 epochs",
            "mnist.toml",
            0.972,
            *shifts,
            "training.epochs=40",
            limit=math.inf,
        )
        train(
            "n_h = 128, NDC, shifts, 25 epochs",
            "mnist.toml",
            0.982,
            *shifts,
            "training.epochs=25",
            "network.layers=[784,128,10]",
            limit=math.inf,
        )
        train("n_h = 30, linear", "mnist-linear.toml", None)
        train(
            "n_h = 30, cooperative",
            "mnist.toml",
            None,
            "parameters.b.value=0",
            "parameters.b.trainable=false",
            "training.epochs=12",
        )

    def fast_paths(self):
        # What states and gradients of each precision promise (sim/include/ness/sim/simulation.hpp), on
        # networks of conductances around 1.
        promised = {
            "batches, single": (2e-5, 3e-5),
            "batches, double": (1e-10, 1e-6),
            "direct": (1e-10, 1e-10),
            "iterative": (1e-8, 1e-8),
            "iterative, large": (1e-8, 1e-8),
        }
        for line in (
            json.loads(line)
            for line in self.run(self.tests / "ness-bar-fast-paths", 10000).stdout.splitlines()
        ):
            state, gradient = promised[line["path"]]
            self.report(
                "fast-paths",
                f"{line['path']} on {line['target']}, {line['networks']} random networks",
                f"states to {state:.0e} kT, gradients to {gradient:.0e}, no branch changed",
                f"{line['relaxations']} relaxations ({line['served']} its own): "
                f"states {line['state']:.1e} kT, gradients {line['gradient']:.1e}, "
                f"{line['other_branch']} on another branch, "
                f"{line['verdicts']} other verdicts",
                line["state"] <= state
                and line["gradient"] <= gradient
                and line["other_branch"] == 0
                and line["verdicts"] == 0,
            )

    def targets(self):
        refused = self.run(
            self.ness,
            "train",
            experiments / "xor.toml",
            "--log",
            self.scratch / "none.h5",
            "--set",
            "solver.vector_target=none",
            check=False,
        ).stderr
        for target in re.findall(r"[A-Z][A-Z0-9_]+", refused.rsplit("have", 1)[-1]):
            log = self.scratch / f"target-{target}.h5"
            done = json.loads(
                self.run(
                    self.ness,
                    "train",
                    experiments / "mnist.toml",
                    "--log",
                    log,
                    "--json",
                    "-q",
                    "--set",
                    f"solver.vector_target={target}",
                    "--set",
                    "training.epochs=2",
                    "--set",
                    "task.train_limit=6000",
                    "--set",
                    "evaluation.train=false",
                ).stdout
            )
            for threads in (1, 2):
                replay = self.run(self.ness, "replay", log, "--threads", threads, "--json", check=False)
                self.report(
                    "targets",
                    f"MNIST, 6,000 images, {target}, replayed "
                    f"with {threads} thread{'s' if threads > 1 else ''}",
                    "bit-equal",
                    f"test accuracy {done['test']['accuracy']:.4f}; "
                    + (replay.stdout.strip()[:120] or replay.stderr.strip()[:160]),
                    replay.returncode == 0,
                )
            log.unlink()

    def mnist_in_situ(self):
        log = self.scratch / "mnist-in-situ.h5"
        started = time.time()
        done = json.loads(
            self.run(
                self.ness,
                "train",
                experiments / "mnist-in-situ.toml",
                "--log",
                log,
                "--json",
                "-q",
                "--set",
                "evaluation.train=false",
            ).stdout
        )
        seconds = time.time() - started
        clean = json.loads(
            self.run(
                self.ness,
                "evaluate",
                log,
                "--set",
                "device.read_noise=0",
                "--set",
                "task.train_limit=100",
                "--json",
            ).stdout
        )["test"]
        images = 60000 * done["epochs"]
        self.report(
            "mnist-in-situ",
            "784-30-10, centred EP, read noise 1e-2 kT",
            "test accuracy >= 0.95 with <= 10 relaxations a sample",
            f"{done['test']['accuracy']:.4f} read with noise ({clean['accuracy']:.4f} without), "
            f"{done['relaxations'] / images:.2f} relaxations a sample, {seconds:.0f} s",
            done["test"]["accuracy"] >= 0.95 and done["relaxations"] <= 10 * images,
        )
        log.unlink()

    def truth(self):
        done = self.run(python, commands / "truth.py", self.ness, "--networks", 100, check=False)
        worst = max((float(m) for m in re.findall(r"worst (\S+)", done.stdout)), default=float("nan"))
        self.report(
            "truth",
            "100 networks against 40 digits, all blocks",
            "1e-10 of each block's largest entry",
            f"worst {worst:.1e}",
            done.returncode == 0,
        )

    def solver(self):
        lines = [
            json.loads(line)
            for line in self.run(self.tests / "ness-bar-solver", 100000, check=False).stdout.splitlines()
        ]
        total = sum(line["relaxations"] for line in lines)
        count = {
            key: sum(line[key] for line in lines)
            for key in (
                "converged",
                "dishonest",
                "other_branch",
                "not_converged",
                "no_stable_state",
                "undecided_reference",
            )
        }
        share = max(line["other_branch"] / line["relaxations"] for line in lines)
        self.report(
            "solver",
            f"{total} cold relaxations of random NDC networks",
            "0 dishonest; <= 0.5 % on another branch",
            ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in count.items())
            + f"; at most {100 * share:.3f} % elsewhere; "
            + f"residuals <= {max(line['largest_residual'] for line in lines):.0e}",
            count["dishonest"] == 0 and share <= 0.005 and count["not_converged"] == 0,
        )

    def branches(self):
        for deviation in (6, 12):
            done = self.run(
                self.tests / "ness-bar-branches", 10000, 1000, "--deviation", deviation, check=False
            )
            for line in map(json.loads, done.stdout.splitlines()):
                if "compared" in line:
                    self.report(
                        "branches",
                        f"b of deviation {deviation}, {line['way']} against one sample at a time",
                        "within 1e-6 (single precision: 1e-2)",
                        f"{line['wrong']} of {line['compared']} not, "
                        f"at most {line['largest_difference']:.1e}",
                        line["wrong"] == 0,
                    )
                    continue
                self.report(
                    "branches",
                    f"b of deviation {deviation}, {line['way']}",
                    "0 on another branch than CVODE and Radau",
                    f"{line['wrong_branch']} of {line['integrators_agree']} on which these agree "
                    f"(of {line['relaxations']}), {line['not_converged']} not converged, "
                    f"{line['moving_reported_at_rest']} reported at rest that move, "
                    f"{line['flagged']} flagged",
                    line["wrong_branch"] == 0
                    and line["not_converged"] == 0
                    and line["moving_reported_at_rest"] == 0,
                )

    def extremes(self):
        done = self.run(python, commands / "extremes.py", self.ness, "--networks", 5000, check=False)
        counts = json.loads(done.stdout.splitlines()[-1])
        self.report(
            "extremes",
            "steady states over 30 decades against 50 digits",
            ">= 99 % right, 0 wrong, 0 null",
            ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.items()),
            done.returncode == 0,
        )

    def ep(self):
        for line in (json.loads(line) for line in self.run(self.tests / "ness-bar-ep").stdout.splitlines()):
            kind, centred, errors, slope = (
                line["network"],
                line["estimator"] == "centred",
                line["relative_error"],
                line["slope"],
            )
            what = f"{kind}, {line['estimator']}: error at beta {line['beta']}"
            figure = ", ".join(f"{e:.1e}" for e in errors)
            if kind.startswith("reciprocal"):
                order = 2 if centred else 1
                self.report(
                    "ep",
                    what,
                    f"falls as beta^{order}",
                    f"{figure}; slope {slope:.2f}",
                    abs(slope - order) < 0.15,
                )
            elif kind.startswith("linear"):
                self.report("ep", what, "round-off", figure, max(errors) < 1e-9)
            else:
                self.report("ep", what, "bias measured", f"{figure}; cosine {line['cosine'][-1]:.4f}", True)

    def corrected(self):
        for line in (
            json.loads(line) for line in self.run(self.tests / "ness-bar-corrected", 100).stdout.splitlines()
        ):
            errors = dict(zip(line["rounds"], line["corrected"]))
            self.report(
                "corrected",
                f"{line['networks']} quantum-dot networks {'-'.join(map(str, line['layers']))} "
                f"with NDC where centred EP errs by >= 0.1 (of {line['drawn']} drawn), "
                f"levels within {line['level']:g} kT, beta 1e-3",
                "median relative error <= 1e-2",
                f"{errors[3]:.1e} by 3 rounds ("
                + ", ".join(f"{r}: {e:.1e}" for r, e in errors.items() if r != 3)
                + f"), centred EP {line['plain']:.2f}; "
                f"asymmetry {line['asymmetry']:.3f}, {line['left_out']} networks left out",
                errors[3] <= 1e-2 and line["plain"] >= 0.1 and line["networks"] >= 100,
            )

    def log(self):
        done = self.run(
            python, root / "tests/core/record/kill/log_kill.py", self.tests / "log_victim", 100, check=False
        )
        last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing printed"])[
            -1
        ]
        self.report(
            "log",
            "100 SIGKILLs of a process that acknowledges rows",
            "every file opens, every acknowledged row is whole",
            last,
            done.returncode == 0,
        )
        # The same of a real training run, which commits every 64 rows, looked at by
        # `ness inspect` and by h5py.
        rng, rows, opened, replayed, wrong = random.Random(7), 0, 0, 0, []
        for i in range(100):
            log = self.scratch / f"killed-{i}.h5"
            train = subprocess.Popen(
                [
                    str(self.ness),
                    "train",
                    str(experiments / "xor.toml"),
                    "--log",
                    str(log),
                    "--set",
                    "training.target_loss=0",
                    "--set",
                    "training.epochs=1000000",
                    "--set",
                    "log.group_rows=64",
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=root,
            )
            deadline = time.time() + 20
            while not log.exists() and time.time() < deadline and train.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.4))
            train.send_signal(signal.SIGKILL)
            train.wait()
            looked = self.run(self.ness, "inspect", log, "--json", check=False)
            counted = json.loads(looked.stdout) if looked.returncode == 0 else None
            if counted is None or counted["damaged_rows"]:
                wrong.append(f"kill {i}: {(looked.stderr or looked.stdout).strip()[:120]}")
                continue
            opened += 1
            rows += counted["rows"]
            h5py = self.run(
                python,
                "-c",
                "import h5py,sys; f = h5py.File(sys.argv[1], 'r', locking=False); "
                "n = int(f['/committed'][0]); "
                "assert f['/entry/relaxations/potential'][:n].shape[0] == n; print(n)",
                log,
                check=False,
            )
            if h5py.returncode != 0 or int(h5py.stdout) != counted["rows"]:
                wrong.append(f"kill {i}: h5py: {h5py.stderr.strip()[-120:]}")
            replayed += self.run(self.ness, "replay", log, check=False).returncode == 0
            log.unlink()
        self.report(
            "log",
            "100 SIGKILLs of a training run at random moments",
            "every file opens, every counted row is whole",
            f"{opened} opened, {rows} rows whole, {replayed} replay bit for bit"
            + ("; " + "; ".join(wrong[:3]) if wrong else ""),
            opened == 100 and not wrong,
        )

    def replay(self):
        for name in ("xor", "regression-quantum-dot", "mnist"):
            log = self.scratch / f"replay-{name}.h5"
            shorter = {
                "mnist": ["training.epochs=2"],
                "regression-quantum-dot": ["training.epochs=2000"],
                "xor": [],
            }[name]
            command = [self.ness, "train", experiments / f"{name}.toml", "--log", log, "--json"]
            for setting in shorter:
                command += ["--set", setting]
            self.run(*command)
            for threads in (1, 2):
                done = self.run(self.ness, "replay", log, "--threads", threads, "--json", check=False)
                self.report(
                    "replay",
                    f"{name} {' '.join(shorter)}, {threads} thread{'s' if threads > 1 else ''}",
                    "bit-equal",
                    done.stdout.strip()[:160] or done.stderr.strip()[:160],
                    done.returncode == 0,
                )
            log.unlink()

    def on_the_bench(self, estimator, seed, bench="bench-emulated.toml", *settings):
        log = self.scratch / f"bench-{estimator}-{seed}.h5"
        started = time.time()
        command = [
            self.ness,
            "train",
            experiments / "xor-bench.toml",
            "--device",
            "emulated",
            "--bench",
            experiments / bench,
            "--seed",
            seed,
            "--set",
            f"estimator.kind={estimator}",
            "--log",
            log,
            "--json",
            "-q",
        ]
        for setting in settings:
            command += ["--set", setting]
        done = json.loads(self.run(*command).stdout)
        seconds = time.time() - started
        replayed = self.run(self.ness, "replay", log, "--json", check=False).returncode == 0
        log.unlink()
        return done["train"]["loss"], done["relaxations"], replayed, seconds

    def bench_estimators(self):
        # Through sources and meters: what each estimator needs of the terminals is wired.
        for estimator, bench, settings in (
            ("probing", "bench-emulated.toml", ["estimator.probe=0.1"]),
            ("conductance", "bench-emulated-source-meters.toml", ["estimator.probe=0.1"]),
            ("ep-centred", "bench-emulated.toml", []),
            ("spsa", "bench-emulated.toml", ["estimator.c=0.05", "optimizer.rate=0.02"]),
        ):
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                runs = list(
                    pool.map(lambda seed: self.on_the_bench(estimator, seed, bench, *settings), range(20, 30))
                )
            solved, replayed = sum(loss < 1e-3 for loss, *_ in runs), sum(run[2] for run in runs)
            self.report(
                "bench-estimators",
                f"XOR on {bench}, {estimator}, seeds 20 .. 29",
                "solved",
                f"{solved} of 10 solved, {replayed} replayed, "
                f"median {statistics.median(run[1] for run in runs):,.0f} relaxations, "
                f"{statistics.median(run[3] for run in runs):.0f} s",
                solved >= 9 and replayed == 10,
            )

    def bench(self):
        # XOR through emulated instruments in virtual time, 20 seeds, as many at once as there are cores.
        def one(estimator, seed):
            step = ["estimator.step=0.05"] if estimator == "fd-central" else []
            return self.on_the_bench(estimator, seed, "bench-emulated.toml", *step)

        for estimator in ("ep-centred", "fd-central"):
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                runs = list(pool.map(lambda seed: one(estimator, seed), range(20)))
            solved, replayed = sum(loss < 1e-3 for loss, *_ in runs), sum(run[2] for run in runs)
            self.report(
                "bench",
                f"XOR on the emulated bench, {estimator}, 20 seeds",
                ">= 18 solved, all replayed bit for bit",
                f"{solved} solved, {replayed} replayed, "
                f"median {statistics.median(run[1] for run in runs):.0f} relaxations, "
                f"{statistics.median(run[3] for run in runs):.0f} s",
                solved >= 18 and replayed == 20,
            )

    def same_loop(self):
        done = self.run(python, commands / "same_loop_test.py", self.ness, experiments, "--whole")
        figures = [json.loads(line) for line in done.stdout.splitlines()]
        for f in figures:
            if f["figure"] == "gradients":
                self.report(
                    "same-loop",
                    f"first 10 gradients of both devices, {f['estimator']}, quantised instruments; "
                    f"resolution propagated by {f['runs']} runs of the simulation",
                    "differences of 0.6 to 1.5 sigma rms, none beyond 5",
                    f"rms {f['rms_z']:.2f} sigma, "
                    f"largest {f['largest_z']:.1f} sigma = "
                    f"{f['largest_difference']:.1e} of gradients up to {f['largest_gradient']:.2f}",
                    0.6 < f["rms_z"] < 1.5 and f["largest_z"] < 5,
                )
            elif f["figure"] == "parameters":
                self.report(
                    "same-loop",
                    f"parameters after {f['steps']} SGD steps, {f['estimator']}, ideal instruments",
                    "agree to 1e-6",
                    f"{f['largest_difference']:.1e}, having moved by {f['moved']:.2f}",
                    f["largest_difference"] < 1e-6,
                )
        solved = [f for f in figures if f["figure"] == "solved"]
        self.report(
            "same-loop",
            f"the same file solves XOR on both devices, {len(solved)} seeds",
            "loss < 1e-3 on both",
            "; ".join(f"seed {f['seed']}: {f['simulation']:.1e} and {f['emulated']:.1e}" for f in solved),
            all(f["simulation"] < 1e-3 and f["emulated"] < 1e-3 for f in solved),
        )

    @contextlib.contextmanager
    def emulated(self, bench):
        """`ness emulate` of a bench file, in real time: the resource of each instrument, by its name."""
        server = subprocess.Popen(
            [str(self.ness), "emulate", str(bench), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=root,
        )
        try:
            names = re.findall(r"^\[instruments\.([^\]]+)\]", bench.read_text(), re.M)
            resources = {}
            while len(resources) < len(names):
                line = json.loads(server.stdout.readline() or "null")
                if line is None:
                    raise RuntimeError(f"ness emulate {bench} ended with {server.wait()}")
                resources[line["name"]] = line["resource"]
            yield resources
        finally:
            server.terminate()
            server.wait()

    def settling(self):
        f = json.loads(
            self.run(
                self.tests / "ness-bar-settling",
                experiments / "xor-bench.toml",
                experiments / "bench-emulated.toml",
                1000,
            ).stdout
        )
        self.report(
            "settling",
            f"{f['relaxations']} relaxations on the emulated bench, noise, "
            "slowest time constant 5 to 20 scans",
            "residual at the verdict within the stated bound in >= 99 %",
            f"{f['within']} within, {f['not_settled']} not settled; "
            f"median residual {f['median_share_of_bound']:.2f} of the bound, "
            f"after {f['median_scans']:.0f} scans",
            f["within"] >= 0.99 * f["relaxations"],
        )

    def lattices(self):
        def lines(*options):
            return [
                json.loads(line)
                for line in self.run(self.tests / "ness-bar-lattices", *options).stdout.splitlines()
            ]

        def exponent(nodes, seconds):
            # Slope of the logarithms, of the least of three runs at each size.
            n, t = [math.log(x) for x in nodes], [math.log(min(times)) for times in zip(*seconds)]
            mean_n, mean_t = statistics.mean(n), statistics.mean(t)
            slope = sum((x - mean_n) * (y - mean_t) for x, y in zip(n, t)) / sum((x - mean_n) ** 2 for x in n)
            return slope, ", ".join(f"{math.exp(y):.3g}" for y in t)

        slopes = {}
        for algebra, bar in (("direct", "<= 1.6"), ("iterative", "lower than LU's")):
            runs = [
                lines("--only", "factor", "--algebra", algebra, "--from", 1e4, "--to", 1e6) for _ in range(3)
            ]
            slopes[algebra], times = exponent(
                [line["nodes"] for line in runs[0]],
                [[line["factor_s"] + line["solve_s"] for line in run] for run in runs],
            )
            self.report(
                "lattices",
                f"two dimensions, 10^4 to 10^6 nodes, {algebra}: exponent of one factorisation and solution",
                bar,
                f"{slopes[algebra]:.3f} ({times} s)",
                slopes[algebra] <= 1.6 if algebra == "direct" else slopes[algebra] < slopes["direct"],
            )
            runs = [lines("--algebra", algebra, "--from", 1e3, "--to", 1e5) for _ in range(3)]
            slope, times = exponent(
                [line["nodes"] for line in runs[0]],
                [[line["cold"]["seconds"] for line in run] for run in runs],
            )
            cold = runs[0][-1]
            self.report(
                "lattices",
                f"10^3 to 10^5 nodes from rest, {algebra}: exponent of the whole relaxation",
                "<= 1.6",
                f"{slope:.3f} ({times} s)",
                slope <= 1.6,
            )
            least = min(run[-1]["cold"]["seconds"] for run in runs)
            self.report(
                "lattices",
                f"10^5 nodes from rest, {algebra}",
                "converged in < 30 s",
                f"{cold['cold']['verdict']}, {least:.1f} s (least of three), {cold['gigabytes']:.2g} GB",
                cold["cold"]["verdict"] == "converged" and least < 30,
            )
        warm = lines("--only", "warm", "--from", 1e6, "--to", 1e6)[0]
        found = warm.get(
            "warm",
            {"verdict": "no steady state to start from", "seconds": float("nan"), "residual": float("nan")},
        )
        self.report(
            "lattices",
            f"10^6 nodes from a neighbouring state, {warm['algebra']}",
            "converged",
            f"{found['verdict']}, {found['seconds']:.1f} s, residual {found['residual']:.1g}, "
            f"{warm['gigabytes']:.2g} GB",
            found["verdict"] == "converged",
        )

    def log_rate(self):
        # A short log, which the bare write leaves to the page cache for the most
        # part, and a whole training's.
        for line in (
            line
            for epochs in (4, 20)
            for line in self.run(self.tests / "ness-bar-log-rate", self.scratch, epochs).stdout.splitlines()
        ):
            f = json.loads(line)
            bar = (
                f["mode"] == "background"
            )  # the other, which nobody gets without asking for it, stands beside it
            self.report(
                "log-rate",
                f"{f['rows']} rows of a 784-30-10 network, "
                f"written by the {'log' if bar else 'caller'}'s thread",
                ">= 0.5 of a bare write, both with fdatasync" if bar else "beside it",
                f"{f['ratio']:.2f}, {f['rows_per_s'] / 1e6:.2f} million rows/s; "
                f"{f['caller_us']:.2f} us a row of the caller, {f['writer_us']:.2f} of the writer",
                not bar or f["ratio"] >= 0.5,
            )

    def calibration(self):
        simulated = "2-2-1 bench in simulation, 5 % variation, read noise 1e-3 kT"
        training = ["--set", "training.epochs=200"]
        noise = training + ["--set", "device.variation=0.05", "--set", "device.read_noise=1e-3"]
        emulated = ["--set", "training.epochs=60", "--bench", experiments / "bench-emulated.toml"]
        for what, arguments in (
            (f"{simulated}: white noise alone", noise),
            ("drift of 2e-5 kT per root relaxation", noise + ["--set", "device.drift=2e-5"]),
            ("drift of 1e-4 kT per root relaxation", noise + ["--set", "device.drift=1e-4"]),
            ("flicker of 1e-3 kT", noise + ["--set", "device.flicker=1e-3"]),
            ("cross-talk of 1 %", noise + ["--set", "device.cross_talk=0.01"]),
            ("gains of gates of 1 %", noise + ["--set", "device.gate_gain=0.01"]),
            (
                "the emulated bench, all errors of its instruments; accuracies of meters and sources stated",
                emulated,
            ),
        ):
            self.calibrated(what, arguments)

    def calibrated(self, what, arguments):
        text = self.run(
            self.tests / "ness-bar-calibrate",
            experiments / "xor-bench.toml",
            "--seeds",
            100,
            "--bounds",  # a dense Cholesky factor each
            20,
            "--scratch",
            self.scratch,
            *arguments,
        ).stdout
        lines = [json.loads(line) for line in text.splitlines()]
        unknowns = [u for line in lines for u in line["unknowns"]]
        told = [u for u in unknowns if "covered" in u]
        withheld = 1 - len(told) / len(unknowns)
        coverage = 100 * sum(u["covered"] for u in told) / max(1, len(told))
        ratio = statistics.median(u["width"] / u["bound"] for u in told if "bound" in u)
        kinds = {}
        for u in told:
            kinds.setdefault(u["name"].split("[")[0], []).append(u)
        self.report(
            "calibration",
            f"{what}; {len(lines)} runs of {statistics.median(line['rows'] for line in lines):.0f} rows",
            "pooled 95 % intervals cover in 93-97 %, withheld in <= 10 %, median width <= 1.5 of the bound",
            f"{coverage:.1f} %, withheld {100 * withheld:.1f} %, width {ratio:.2f} of the bound; "
            + ", ".join(
                f"{kind} {100 * sum(u['covered'] for u in of) / len(of):.0f} % and "
                f"{statistics.median(u['width'] for u in of):.1e}"
                for kind, of in kinds.items()
            )
            + f"; {sum(line['converged'] for line in lines)} converged",
            93 <= coverage <= 97 and withheld <= 0.1 and ratio <= 1.5,
        )

    def safe(self):
        for script, what in (
            ("safe_test.py", "every way out, asked of an emulator in another process"),
            ("clients_test.py", "third-party clients"),
            (
                "bench_test.py",
                "wrong benches refused before anything is switched on; trained, continued, behind a Prologix",
            ),
        ):
            argument = experiments / "bench-resistor.toml" if script == "clients_test.py" else experiments
            done = self.run(python, commands / script, self.ness, argument, check=False)
            last = (
                done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing printed"]
            )[-1]
            self.report("safe", what, "all checks pass", last[:200], done.returncode == 0)

    def check(self):
        done = self.run(python, commands / "check_test.py", self.ness, experiments, "--every", check=False)
        last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing printed"])[
            -1
        ]
        self.report(
            "check",
            "20 seeds of instruments, all 109 exchanges of two cables of a kind, 40 open or shorted leads",
            "no false alarm, every mistake named",
            last[:200],
            done.returncode == 0,
        )

    def overlap(self):
        models = [
            "keithley-2400",
            "agilent-34401a",
            "keysight-34461a",
            "keysight-34970a",
            "keysight-daq970a",
            "keithley-2400",
            "agilent-34401a",
            "keysight-34461a",
        ]
        (self.scratch / "star.json").write_text(
            json.dumps(
                {
                    "nodes": [{"clamped": True}] + [{"g": 1}] * len(models),
                    "edges": [
                        {"source": 0, "target": k, "law": "linear", "G": 1} for k in range(1, len(models) + 1)
                    ],
                    "outputs": [1],
                }
            )
        )
        bench = self.scratch / "eight.toml"
        bench.write_text(
            "".join(
                f'[instruments.i{k}]\nmodel = "{model}"\n'
                + ('address = "ASRL/dev/ttyUSB0::INSTR"\n' if k == 0 else "")
                + f'[wiring.w{k}]\ninstrument = "i{k}"\nnode = {k + 1}\n'
                + ("channel = 101\n" if "970a" in model else "")
                for k, model in enumerate(models)
            )
            + '[emulation]\nnetwork = "star.json"\n'
        )
        with self.emulated(bench) as resources:
            f = json.loads(
                self.run(
                    self.tests / "ness-bar-links",
                    "overlap",
                    50,
                    *(f"{model}={resources[f'i{k}']}" for k, model in enumerate(models)),
                ).stdout
            )
        self.report(
            "overlap",
            f"{len(models)} instruments in another process, 10 ms each, "
            f"one reading each (sockets and a pseudo-terminal, real pace), {f['rounds']} rounds",
            "< 1.3 x the slowest alone",
            f"{f['ratio']:.2f}: {f['together_ms']:.1f} ms, the slowest {f['slowest_ms']:.1f} ms, "
            f"one after another {f['sum_ms']:.0f} ms",
            f["ratio"] < 1.3,
        )

        # A relaxation takes what its instruments take, which virtual time tells, and what software adds: the
        # client's work, messages, waking up. On sockets, since a real serial line's pace is no software.
        base = re.sub(
            r"^(address|baud) = .*\n", "", (experiments / "bench-emulated.toml").read_text(), flags=re.M
        ).replace(
            'experiment = "xor-bench.toml"', f'experiment = "{experiments / "xor-bench.toml"}"\nlinks = false'
        )
        served, real = self.scratch / "served.toml", self.scratch / "real.toml"
        served.write_text(base)
        with self.emulated(served) as resources:
            text = base
            for name, resource in resources.items():
                text = text.replace(
                    f"[instruments.{name}]\n", f'[instruments.{name}]\naddress = "{resource}"\n'
                )
            real.write_text(text)
            f = json.loads(
                self.run(
                    self.tests / "ness-bar-links",
                    "relaxations",
                    40,
                    experiments / "xor-bench.toml",
                    real,
                    served,
                ).stdout
            )
        self.report(
            "overlap",
            "software's share of a relaxation at 1 NPLC (3 nodes, 4 readings each), "
            f"{f['n']} relaxations at real pace",
            "<= 1 % beyond what it takes in virtual time",
            f"{100 * f['beyond_instruments']:.2f} % of {f['relaxation_ms']:.0f} ms, "
            f"the client's processor time {100 * f['client_processor']:.2f} %",
            f["beyond_instruments"] <= 0.01 and f["client_processor"] <= 0.01,
        )

    def raw_speed(self):
        links = self.tests / "ness-bar-links"
        pyvisa = """
import sys, time, pyvisa
link = pyvisa.ResourceManager("@py").open_resource(
    f"TCPIP0::127.0.0.1::{sys.argv[1]}::SOCKET", read_termination="\\n", write_termination="\\n"
)
rates = []
for _ in range(5):
    begin = time.perf_counter()
    for _ in range(1000):
        assert link.query("*IDN?") == "*IDN?"
    rates.append(1000 / (time.perf_counter() - begin))
print(sorted(rates)[2])
"""
        # Where the scheduler puts client and server makes a factor of ten between 10,000 and 150,000, for
        # either of a pair: both are told where to be.
        for cores, what in (("0", "on one core"), ("1", "on two cores")):
            server = subprocess.Popen(
                ["taskset", "-c", "0", str(links), "echo"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                port = server.stdout.readline().strip()
                f = json.loads(self.run("taskset", "-c", cores, links, "speed", port, 40, 2000).stdout)
                theirs = float(self.run("taskset", "-c", cores, python, "-c", pyvisa, port).stdout)
            finally:
                server.stdin.close()
                server.wait()
            self.report(
                "raw-speed",
                f"queries a second, to an echo server in another process, {what}; "
                f"{f['rounds']} interleaved pairs of {f['queries']}",
                ">= 0.8 of a bare socket's ping-pong",
                f"{f['ratio']:.2f}: session {f['session_per_s']:.0f}, bare socket {f['socket_per_s']:.0f}, "
                f"PyVISA-py {theirs:.0f}",
                f["ratio"] >= 0.8,
            )

    def gradients(self):
        exact = {
            "finite-differences-forward": 1,
            "finite-differences-central": 2,
            "equilibrium-propagation-corrected": None,
            "node-probing": 2,
            "conductance-by-voltage": 2,
            "walsh": 2,
        }
        for line in (
            json.loads(line) for line in self.run(self.tests / "ness-bar-gradients").stdout.splitlines()
        ):
            what = f"{line['network']}: {line['estimator']}"
            if "refused" in line:
                self.report("gradients", what, "", f"refused: {line['refused']}", False)
                continue
            errors, tracked = line["relative_error"], line["estimator"].endswith("tracked")
            reciprocal = line["network"].startswith("reciprocal")
            order = exact.get(line["estimator"])
            if reciprocal and order is None:
                order = {
                    "equilibrium-propagation-one-sided": 1,
                    "equilibrium-propagation-centred": 2,
                    "equilibrium-propagation-richardson": 4,
                }.get(line["estimator"])
            figure = (
                f"error {', '.join(f'{e:.1e}' for e in errors)} at sizes {line['size']}; "
                f"angle {line['angle']:.1e}, asymmetry {line['asymmetry']:.3f}, "
                f"{line['counted']:g} relaxations a sample"
            )
            met = tracked or line["cost"] == line["counted"]
            bar = "cost as stated"
            if order is not None:
                bar += f", error of order {order}"
                # On strongly curved networks the largest sizes are beyond the leading
                # order: the last two tell.
                last = (
                    math.log(errors[2] / errors[3]) / math.log(line["size"][2] / line["size"][3])
                    if errors[3] > 1e-11
                    else order
                )
                met = met and abs(last - order) < 0.2
            elif line["estimator"].startswith("equilibrium") and not reciprocal:
                bar += ", bias measured"
            self.report("gradients", what, bar, figure, met)

    def errors(self):
        good, known = set(), set()
        for line in (
            json.loads(line) for line in self.run(self.tests / "ness-bar-errors").stdout.splitlines()
        ):
            estimator, mode = line["estimator"], line["mode"]
            known.add(estimator)
            figures, met = [], True
            for name, figure in (("readings", line["readings"]), ("whole", line["whole"])):
                if not figure["stated"]:
                    figures.append(f"{name}: not stated")
                    continue
                ratios = ", ".join(f"{ratio:.2f}" for ratio in figure["ratio"])
                figures.append(
                    f"{name}: {ratios} (80 % of them {min(figure['from']):.2f} .. {max(figure['to']):.2f})"
                )
                met = met and all(0.9 <= ratio <= 1.1 for ratio in figure["ratio"])
            stated = line["readings"]["stated"] and line["whole"]["stated"]
            # A mode that states nothing says why; the estimator counts by its first mode.
            met = met and (stated or "unstated" in line)
            if mode == "" and stated:
                good.add(estimator)
            if not met:
                good.discard(estimator)
            self.report(
                "errors",
                f"{estimator}{', ' + mode if mode else ''}",
                "0.9 to 1.1 of the scatter of 2,000 repeats at three points, or not stated",
                "; ".join(figures),
                met,
            )
        self.report(
            "errors",
            "estimators that state both errors",
            ">= 12 of 15",
            f"{len(good)} of {len(known)}",
            len(good) >= 12,
        )

    def compared(self, experiment, *arguments):
        return json.loads(
            self.run(self.ness, "compare", experiments / experiment, "--json", "--quiet", *arguments).stdout
        )["tables"]

    def noise(self):
        bars = {"node-probing": 55, "conductance-by-voltage": 55, "equilibrium-propagation-centred": 50}
        table = self.compared("xor-noisy.toml")[0]
        for row in table["rows"]:
            bar = bars.get(row["label"])
            if "refused" in row:
                self.report("noise", row["label"], "", f"refused: {row['refused']}", False)
                continue
            count = row["relaxations_to_target"]["median"]
            self.report(
                "noise",
                f"XOR, read noise 1e-2 kT: {row['label']}",
                f">= {bar} of 60" if bar else "beside it",
                f"{row['solved']} of {row['seeds']} solved, median {count:,.0f} relaxations"
                if count is not None
                else f"{row['solved']} of {row['seeds']} solved",
                bar is None or row["solved"] >= bar,
            )

    def drift(self):
        for line in (
            json.loads(line) for line in self.run(self.tests / "ness-bar-drift").stdout.splitlines()
        ):
            self.report(
                "drift",
                f"0.1 kT an epoch, {line['estimator']}, {line['networks']} XOR networks: "
                "cosine to the true gradient",
                "falls by < 0.02 in the cancelling order",
                f"{line['cosine']:.4f} without drift, {line['cancelling']:.4f} in the cancelling order, "
                f"{line['with_drift']:.4f} in the plain one",
                line["cosine"] - line["cancelling"] < 0.02,
            )

    def baseline(self):
        for vary, age in (
            ("device.variation=0,0.03,0.1,0.3", 0),
            ("device.parameter_drift=0,1e-3,3e-3,1e-2", 10000),
        ):
            for table in self.compared(
                "xor-noisy.toml",
                "--baselines",
                "--seeds",
                20,
                "--age",
                age,
                "--vary",
                vary,
                "--set",
                "estimator.kind=ep-centred",
            ):
                deployed, tuned, scratch = table["rows"]
                median = (
                    lambda row: "-"
                    if row["relaxations_to_target"]["median"] is None
                    else f"{row['relaxations_to_target']['median']:,.0f}"
                )
                self.report(
                    "baseline",
                    f"XOR, read noise 1e-2 kT, {vary.split('=')[0]} = {table['value']}"
                    + (f", after {age:,} relaxations of use" if age else ""),
                    "the table",
                    f"twin deployed {deployed['solved']} of 20; "
                    f"tuned in situ {tuned['solved']} ({median(tuned)} relaxations); "
                    f"in situ from scratch {scratch['solved']} ({median(scratch)})",
                    True,
                )

    def wire(self):
        # Every seed draws other gains and offsets within the one-year accuracy, which nothing may exceed.
        runs = [
            json.loads(
                self.run(
                    python,
                    commands / "wire_physics_test.py",
                    self.ness,
                    commands / "wire",
                    "--seed",
                    seed,
                    "--json",
                ).stdout
            )
            for seed in range(1, 6)
        ]
        what, worst = max(
            ((what, share) for run in runs for what, share in run["shares"].items()), key=lambda pair: pair[1]
        )
        self.report(
            "wire",
            f"{len(runs[0]['shares'])} laws through sockets and pseudo-terminals, "
            f"{len(runs)} seeds of instruments",
            "within the one-year accuracy; a diode over >= 4 decades",
            f"at worst {worst:.2f} of it ({what}); {min(run['decades'] for run in runs):.1f} decades",
            worst <= 1 and min(run["decades"] for run in runs) >= 4,
        )

    def bad_input(self):
        done = self.run(python, commands / "cli_test.py", self.ness, root, check=False)
        last = (done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ["nothing printed"])[
            -1
        ]
        self.report(
            "bad input",
            "tests/tools/commands/cli_test.py",
            "one clear error each, non-zero exit, no half file that looks whole",
            last,
            done.returncode == 0,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("rows", nargs="*")
    options = parser.parse_args()
    names = [
        "xor",
        "regression",
        "truth",
        "solver",
        "ep",
        "gradients",
        "errors",
        "corrected",
        "noise",
        "drift",
        "baseline",
        "log",
        "replay",
        "bad-input",
        "bench",
        "bench-estimators",
        "same-loop",
        "calibration",
        "lattices",
        "fast-paths",
        "targets",
        "log-rate",
        "settling",
        "safe",
        "check",
        "wire",
        "overlap",
        "raw-speed",
        "mnist",
        "mnist-in-situ",
    ]
    for row in options.rows:
        if row not in names:
            parser.error(f"no row '{row}': there are {', '.join(names)}")
    bars = Bars(options.build.resolve())
    for name in options.rows or names:
        try:
            getattr(bars, name.replace("-", "_"))()
        except Exception as error:  # a row that cannot be measured is not met; the others still are
            bars.report(name, "could not be measured", "", str(error)[:400], False)
    if options.out:
        options.out.write_text(json.dumps(bars.rows, indent=1))
    short = sum(not row["met"] for row in bars.rows)
    print(f"{len(bars.rows)} figures, {short} short of their bars")
    return min(short, 100)


sys.exit(main())
