"""The `ness` command from outside: what it prints, how it refuses, how it ends, and what it leaves behind.

    cli_test.py NESS SOURCE_ROOT [unittest arguments]
"""
import gzip
import json
import math
import os
import pathlib
import pty
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

from log_checks import tampered

NESS = os.path.abspath(sys.argv[1])
EXPERIMENTS = pathlib.Path(sys.argv[2]).absolute() / "tools" / "experiments"
XOR = str(EXPERIMENTS / "xor.toml")


def idx(magic, shape, values):
    return struct.pack(">I", magic) + b"".join(struct.pack(">I", n) for n in shape) + bytes(values)


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ness-cli-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.environment = {k: v for k, v in os.environ.items() if k != "NESS_DATA"}

    def ness(self, *arguments, code=0, **options):
        """Runs ness in a directory of its own and returns (stdout, stderr); checks the exit code."""
        done = subprocess.run(
            [NESS, *map(str, arguments)],
            cwd=self.directory,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=300,
            **options,
        )
        self.assertEqual(
            done.returncode, code, f"ness {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout, done.stderr

    def json(self, *arguments, code=0):
        return json.loads(self.ness(*arguments, "--json", code=code)[0])

    def refused(self, *arguments, code=2):
        """The one line on standard error of a refusal; nothing else is printed."""
        out, err = self.ness(*arguments, code=code)
        self.assertEqual(out, "")
        lines = err.splitlines()
        self.assertEqual(len(lines), 1, err)
        self.assertTrue(lines[0].startswith("ness: "), err)
        return lines[0][len("ness: ") :]

    def file(self, name, content):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def files(self):
        return sorted(p.name for p in self.directory.iterdir())

    # ---- help --------------------------------------------------------------------------------------------

    def test_help_teaches_every_subcommand(self):
        out, _ = self.ness("--help")
        for name in ["train", "evaluate", "replay", "check-gradient", "calibrate", "inspect", "solve"]:
            self.assertIn(f"ness {name}", out)
            text, _ = self.ness(name, "--help")
            self.assertIn("Example", text)
            self.assertIn(f"ness {name} ", text)
        self.assertRegex(self.ness("--version")[0], r"^ness \d+\.\d+")

    def test_mistakes_on_the_command_line_are_one_line_with_a_hint(self):
        self.assertIn("did you mean 'train'?", self.refused("trian", "x.toml"))
        self.assertIn("did you mean '--seed'?", self.refused("train", XOR, "--sead", "3"))
        self.assertIn("whole number >= 0", self.refused("train", XOR, "--seed", "-3"))
        self.assertIn("--resume LOG", self.refused("train"))
        self.ness(code=2)

    # ---- train, evaluate, inspect, replay ----------------------------------------------------------------

    def test_a_run_and_everything_that_can_be_asked_of_its_log(self):
        trained = self.json(
            "train", XOR, "--seed", 3, "--set", "training.epochs=40", "--set", "training.target_loss=0"
        )
        self.assertEqual(
            (trained["status"], trained["end"], trained["epochs"], trained["seed"]),
            ("finished", "epochs", 40, 3),
        )
        self.assertEqual(trained["relaxations"], 160)
        self.assertTrue(math.isfinite(trained["train"]["loss"]))
        self.assertNotIn("test", trained)  # the truth table is the training set
        self.assertTrue(trained["train"]["is_test_set_too"])
        self.assertEqual(self.files(), ["xor.h5"])  # no lock, no part is left

        evaluated = self.json("evaluate", "xor.h5")
        self.assertEqual(evaluated["train"], trained["train"])
        self.assertNotIn("test", evaluated)
        self.assertEqual(evaluated["theta_digest"], trained["theta_digest"])
        self.assertEqual(evaluated["train"]["samples"], 4)
        self.assertEqual(self.json("evaluate", "xor.h5", "--checkpoint", 0)["step"], 10)
        self.assertIn("expected 0 to 3", self.refused("evaluate", "xor.h5", "--checkpoint", 9, code=1))
        best = self.json("evaluate", "xor.h5", "--best")
        self.assertEqual((best["parameters"], best["best"]["by"]), ("best", "training loss"))

        inspected = self.json("inspect", "xor.h5", "--steps", 2, "--rows", 1)
        self.assertEqual((inspected["status"], inspected["cut_short"]), ("finished", False))
        # 40 steps of 4 samples, then the training and the test set from cold starts.
        self.assertEqual((inspected["rows"], inspected["steps"], inspected["epochs"]), (168, 40, 40))
        self.assertEqual(inspected["qualities"], {"settled": 168})
        self.assertEqual(inspected["damaged_rows"], [])
        self.assertEqual(inspected["last_steps"][-1]["theta_after"], trained["theta_digest"])
        self.assertEqual(len(inspected["last_rows"][0]["potential"]), 3)
        with h5py.File(self.directory / "xor.h5") as log:
            self.assertIn(b"seed = 3", bytes(log["entry/experiment"][()]))
            self.assertEqual(log["entry/relaxations/flags"].shape[0], 168)

        for threads in (1, 2):
            replayed = self.json("replay", "xor.h5", "--threads", threads)
            self.assertEqual((replayed["equal"], replayed["steps"], replayed["rows"]), (True, 40, 168))

    def test_a_twin_is_calibrated_from_a_log_and_is_an_experiment_again(self):
        bench = str(EXPERIMENTS / "xor-bench.toml")
        self.ness(
            "train",
            bench,
            "--set",
            "training.epochs=60",
            "--set",
            "device.variation=0.05",
            "--set",
            "device.read_noise=1e-3",
            "--log",
            "run.h5",
            "-q",
        )
        found = self.json("calibrate", "run.h5", "--rows", 500, "--out", "twin.toml")
        self.assertEqual(
            (found["rows"], found["rank"], found["converged"], found["not_identified"]), (500, 24, True, [])
        )
        self.assertEqual(self.files(), ["run.h5", "twin.toml"])
        for unknown in found["unknowns"]:
            self.assertLess(unknown["interval"][0], unknown["offset"])
            self.assertLess(unknown["offset"], unknown["interval"][1])
        # 500 readings know their noise to 3.2 %: 4 of these.
        for noise in found["noise"].values():
            self.assertAlmostEqual(noise, 1e-3, delta=1.3e-4)
        for threads in (1, 2):
            self.assertEqual(
                self.json("calibrate", "run.h5", "--rows", 500, "--threads", threads)["unknowns"],
                found["unknowns"],
            )
        text = self.ness("calibrate", "run.h5", "--rows", 500)[0]
        self.assertIn("95 % interval", text)
        self.assertIn("24 of 24 unknowns identified", text)
        # The twin trains, and a log of it calibrates to itself.
        self.ness("train", "twin.toml", "--set", "training.epochs=30", "--log", "twin.h5", "-q")
        again = self.json("calibrate", "twin.h5")
        for before, after in zip(found["unknowns"], again["unknowns"]):
            self.assertLess(
                abs(before["offset"] - after["offset"]), 6 * after["standard_error"], before["name"]
            )
        self.assertIn("exists already", self.refused("calibrate", "run.h5", "--out", "twin.toml", code=1))
        self.assertIn("too few relaxations", self.refused("calibrate", "run.h5", "--rows", 5, code=1))
        self.assertIn("cannot read the log", self.refused("calibrate", "none.h5", code=1))

    def test_threads_do_not_change_a_bit(self):
        digests = {
            self.json("train", XOR, "--set", "training.epochs=30", "--threads", n, "--log", f"{n}.h5")[
                "theta_digest"
            ]
            for n in (1, 2)
        }
        self.assertEqual(len(digests), 1)

    def test_other_tasks_replay(self):
        for name in ("regression-quantum-dot", "regression-enzyme"):
            short = [
                "--set",
                "training.epochs=25",
                "--set",
                "network.layers=[1,6,2,1]",
                "--set",
                "training.batch=20",
            ]
            self.json("train", EXPERIMENTS / f"{name}.toml", *short)
            self.assertTrue(self.json("replay", f"{name}.h5")["equal"], name)

    def images(self, labels=None, count=12):
        """Twelve images of 2 x 2 pixels, of two classes."""
        rng = np.random.default_rng(1)
        values = rng.integers(0, 256, size=(count, 2, 2), dtype=np.uint8)
        labels = [i % 2 for i in range(count)] if labels is None else labels
        for part in ("train", "t10k"):
            self.file(
                f"data/mnist/{part}-images-idx3-ubyte.gz",
                gzip.compress(idx(0x803, (count, 2, 2), values.tobytes())),
            )
            self.file(
                f"data/mnist/{part}-labels-idx1-ubyte.gz", gzip.compress(idx(0x801, (len(labels),), labels))
            )
        return [
            EXPERIMENTS / "mnist.toml",
            "--data",
            self.directory / "data",
            "--set",
            "network.layers=[4,3,2]",
            "--set",
            "task.classes=2",
            "--set",
            "training.epochs=3",
            "--set",
            "training.batch=4",
        ]

    def test_images_are_classified_and_found_again_from_the_log(self):
        trained = self.json(
            "train", *self.images(), "--set", "task.validation=4", "--set", "training.validate_every=1"
        )
        for part, samples in (("train", 8), ("validation", 4), ("test", 12)):
            self.assertEqual(trained[part]["samples"] + trained[part]["failures"], samples)
            self.assertTrue(0 <= trained[part]["accuracy"] <= 1)
        evaluated = self.json("evaluate", "mnist.h5")  # the data directory is the log's
        self.assertEqual(evaluated["test"], trained["test"])
        self.assertIn("validation", self.json("evaluate", "mnist.h5", "--best"))
        self.assertTrue(self.json("replay", "mnist.h5")["equal"])

    def test_an_outputs_only_log_says_that_it_cannot_replay(self):
        self.ness("train", XOR, "--set", "training.epochs=3", "--set", "log.rows=outputs")
        self.assertIn("the outputs alone", self.refused("replay", "xor.h5", code=1))
        self.assertTrue(self.json("inspect", "xor.h5")["outputs_only"])
        self.json("evaluate", "xor.h5")

    def change_text(self, path, old, new):
        self.assertEqual(len(old), len(new))
        with tampered(path) as log:
            text = bytes(log["entry/experiment"][()])
            self.assertEqual(text.count(old), 1)
            log["entry/experiment"][()] = np.bytes_(text.replace(old, new))

    def test_a_tampered_log_is_found_out(self):
        self.ness(
            "train", XOR, "--set", "training.epochs=20", "--set", "training.target_loss=0", "--log", "good.h5"
        )
        good, bad = self.directory / "good.h5", self.directory / "bad.h5"

        shutil.copy(good, bad)
        self.change_text(bad, b"rate = 0.02", b"rate = 0.03")
        message = self.refused("replay", bad, code=1)
        self.assertRegex(
            message, r"after 0 bit-equal steps, at row 4: step 0: theta digest after is 0x\w+, recorded 0x\w+"
        )
        self.assertFalse(self.json("replay", bad, code=1)["equal"])

        shutil.copy(good, bad)
        self.change_text(bad, b"seed = 0", b"seed = 1")
        self.assertRegex(self.refused("replay", bad, code=1), r"row 0: theta digest is 0x\w+, recorded 0x\w+")

        # Who does not know of the CRCs is found out by them, and one wrong bit is put right.
        shutil.copy(good, bad)
        with h5py.File(bad, "r+", locking=False) as log:
            log["entry/experiment"][()] = np.bytes_(
                bytes(log["entry/experiment"][()]).replace(b"seed", b"feed")
            )
        for words in (["inspect"], ["replay"], ["evaluate"]):
            self.assertIn("damaged: their CRC fails", self.refused(*words, bad, code=1))
        shutil.copy(good, bad)
        with h5py.File(bad, "r", locking=False) as log:
            place = log["entry/experiment"].id.get_offset()
        with open(bad, "r+b") as file:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 4]))
        self.assertIn("damaged: their CRC fails", self.refused("inspect", bad, code=1))
        repair = self.json("inspect", "--repair", bad)["repair"]
        self.assertEqual(repair["mended"], [f"bit 2 of byte {place}"])
        whole, mended = self.json("inspect", good), self.json("inspect", bad)
        self.assertEqual({**mended, "log": None}, {**whole, "log": None})
        self.assertTrue(self.json("replay", bad)["equal"])

        # The data are the log's own: what the experiment says of them does not matter.
        for place, value in (("patterns/0/levels", 2.5), ("data/train/target", 0.5), ("data/train/row", 1)):
            shutil.copy(good, bad)
            with tampered(bad) as log:
                data = log["entry"][place]
                data[(0,) * data.ndim] = value
            for subcommand in ("replay", "evaluate"):
                self.assertIn("is damaged: its set 'train' has", self.refused(subcommand, bad, code=1))
            sets = {one["name"]: one["intact"] for one in self.json("inspect", bad, code=1)["data"]}
            self.assertFalse(sets["train"], place)

        shutil.copy(good, bad)
        with tampered(bad) as log:
            log["entry/relaxations/potential"][7, 1] += 1e-13
        self.assertIn("row 7 fails", self.refused("replay", bad, code=1))
        self.assertEqual(self.json("inspect", bad, code=1)["damaged_rows"], [7])

    # ---- stopping and going on ---------------------------------------------------------------------------

    long_run = [
        XOR,
        "--set",
        "training.epochs=15000",
        "--set",
        "training.target_loss=0",
        "--set",
        "training.checkpoint_every=700",
        "--set",
        "log.group_rows=64",
    ]

    def started(self, *arguments):
        """A run under way: some steps of it are in the log."""
        process = subprocess.Popen(
            [NESS, "train", *arguments],
            cwd=self.directory,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        log = arguments[arguments.index("--log") + 1]
        while process.poll() is None:
            looked = subprocess.run(
                [NESS, "inspect", log, "--quick", "--json"],
                cwd=self.directory,
                capture_output=True,
                text=True,
            )
            if looked.returncode == 0 and json.loads(looked.stdout)["steps"] > 0:
                return process
        out, err = process.communicate()
        self.fail(f"the run ended before it could be stopped: {out}{err}")

    def test_ctrl_c_and_resume_give_the_uninterrupted_run(self):
        for start in ("rest", "last"):
            run = [*self.long_run, "--set", f"training.start={start}"]
            whole = self.json("train", *run, "--log", f"whole-{start}.h5")
            process = self.started(*run, "--log", f"cut-{start}.h5")
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130)
            self.assertIn(f"continue: ness train --resume cut-{start}.h5", out)
            cut = self.json("inspect", f"cut-{start}.h5")
            self.assertEqual(cut["status"], "cancelled")
            self.assertLess(cut["steps"], 15000)
            self.assertTrue(self.json("replay", f"cut-{start}.h5")["equal"])  # as far as it went

            resumed = self.json("train", "--resume", f"cut-{start}.h5")
            self.assertEqual(resumed["theta_digest"], whole["theta_digest"])
            self.assertEqual(resumed["train"], whole["train"])
            self.assertEqual(resumed["best"], whole["best"])
            after, before = self.json("inspect", f"cut-{start}.h5"), self.json("inspect", f"whole-{start}.h5")
            for what in ("status", "rows", "steps", "epochs", "qualities", "loss"):
                self.assertEqual(after[what], before[what], what)
            self.assertTrue(self.json("replay", f"cut-{start}.h5")["equal"])
            self.assertIn("nothing to continue", self.ness("train", "--resume", f"cut-{start}.h5")[0])

    def test_a_killed_run_is_told_as_cut_short_and_resumes_to_the_same_bits(self):
        run = [
            *self.long_run,
            "--set",
            "device.read_noise=1e-3",
            "--set",
            "device.drift=1e-5",
        ]  # counter-based noise goes on too
        whole = self.json("train", *run, "--log", "whole.h5")
        process = self.started(*run, "--log", "cut.h5")
        process.kill()
        process.communicate()
        self.assertIn("cut short", self.ness("inspect", "cut.h5")[0])
        resumed = self.json("train", "--resume", "cut.h5")
        self.assertEqual(resumed["theta_digest"], whole["theta_digest"])
        self.assertTrue(self.json("replay", "cut.h5")["equal"])

    def test_two_signals_end_a_run_soon(self):
        process = self.started(*self.long_run, "--set", "training.epochs=10000000", "--log", "x.h5")
        # Whether the second one still meets the run or finds it ended: it is over soon, and
        # says that it was stopped.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.ness("inspect", "x.h5")

    def test_ctrl_c_reaches_a_run_whose_libraries_started_threads(self):
        # OpenBLAS, which the calibration's Ceres brings along, starts threads when it is loaded. They block
        # no signal, so the system hands signals to them.
        openblas = pathlib.Path("/usr/lib/x86_64-linux-gnu/openblas-pthread")
        self.assertTrue(openblas.is_dir(), "libopenblas0-pthread is not installed")
        self.environment = {
            **self.environment,
            "LD_LIBRARY_PATH": str(openblas),
            "OPENBLAS_NUM_THREADS": "4",
        }
        for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            log = f"{sent.name}.h5"
            process = self.started(*self.long_run, "--set", "training.epochs=10000000", "--log", log)
            process.send_signal(sent)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, sent.name)
            self.assertEqual(self.json("inspect", log)["status"], "cancelled")

    def test_only_one_writer(self):
        process = self.started(*self.long_run, "--set", "training.epochs=10000000", "--log", "x.h5")
        self.assertIn("it is being written by process", self.refused("train", "--resume", "x.h5", code=1))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    # ---- bad input ---------------------------------------------------------------------------------------

    def test_a_wrong_experiment_is_refused_before_there_is_a_log(self):
        path = self.file("e.toml", pathlib.Path(XOR).read_text().replace("rate = 0.02", "rate = nan"))
        line = 1 + path.read_text().splitlines().index("rate = nan")
        self.assertEqual(
            self.refused("train", "e.toml"),
            f"e.toml:{line}: key 'optimizer.rate': expected a number > 0, found nan",
        )
        for assignment, expected in {
            "network.nodes.capacity=-1": "key 'network.nodes.capacity': expected a number > 0, found -1",
            "network.layers=[3,2,1]": (
                "the network has 3 inputs, but the patterns of task 'xor' have 2 levels"
            ),
            "optimizer.rte=1": "unknown key; did you mean 'rate'?",
            "parameters.b.normal=[0,nan]": "expected two finite numbers, found nan among them",
            "task.kind=xnor": "expected 'xor', 'regression', 'images' or 'csv'",
            "solver.trust=-1": "key 'solver.trust': expected a number > 0",
        }.items():
            self.assertIn(expected, self.refused("train", XOR, "--set", assignment), assignment)
        self.assertEqual(
            self.refused("train", "absent.toml"),
            "absent.toml: cannot be read (No such file or directory); expected an experiment file (TOML)",
        )
        self.assertEqual(self.files(), ["e.toml"])

    def test_a_node_without_a_path_to_ground_is_refused(self):
        network = {
            "nodes": [{"clamped": True}, {"clamped": True}, {"g": 1}, {}, {}],
            "edges": [
                {"source": 0, "target": 2, "law": "linear", "G": 1},
                {"source": 1, "target": 2, "law": "linear", "G": 1},
                {"source": 3, "target": 4, "law": "linear", "G": 1},
            ],
            "outputs": [2],
        }
        self.file("net.json", json.dumps(network))
        message = self.refused("solve", "net.json", "--clamp", "1,2")
        self.assertRegex(message, r"^net.json: .*node 3")
        self.file("e.toml", '[network]\nfile = "net.json"\n[task]\nkind = "xor"\n')
        self.assertRegex(self.refused("train", "e.toml"), r"node 3")

    def test_broken_image_files_are_named(self):
        arguments = self.images()
        images = "data/mnist/train-images-idx3-ubyte.gz"
        good = (self.directory / images).read_bytes()
        raw = gzip.decompress(good)
        for content, expected in {
            gzip.compress(raw[:-3]): "",
            good[:-9]: "",
            gzip.compress(raw + b"x"): "",
            b"hello": "",
            gzip.compress(idx(0x801, (48,), raw[16:])): "",
            gzip.compress(idx(0xD03, (12, 2, 2), raw[16:])): "",
        }.items():
            self.file(images, content)
            self.assertIn("train-images-idx3-ubyte.gz", self.refused("train", *arguments))
        self.file(images, good)
        self.images(labels=[0, 1, 2] * 4)
        self.assertIn("train-labels-idx1-ubyte.gz", self.refused("train", *arguments))
        self.images(labels=[0, 1] * 5)
        self.assertIn("labels", self.refused("train", *arguments))
        (self.directory / images).unlink()
        self.assertIn("train-images-idx3-ubyte.gz", self.refused("train", *arguments))
        self.assertIn(
            "looked at", self.refused("train", arguments[0], "--data", self.directory / "elsewhere")
        )
        self.assertEqual(self.files(), ["data"])

    def test_an_existing_log_is_not_touched(self):
        self.file("xor.h5", "precious")
        message = self.refused("train", XOR, code=1)
        self.assertIn("xor.h5: exists already", message)
        self.assertIn("ness train --resume xor.h5", message)
        self.assertEqual((self.directory / "xor.h5").read_text(), "precious")
        self.assertIn("no Ness log", self.refused("inspect", "xor.h5", code=1))

    def test_an_unwritable_place_is_refused(self):
        self.assertIn(
            "/nowhere/at/all/x.h5", self.refused("train", XOR, "--log", "/nowhere/at/all/x.h5", code=1)
        )
        self.assertIn("x.h5", self.refused("train", XOR, "--log", self.file("plain", "") / "x.h5", code=1))

    def test_a_full_disk_leaves_no_file_that_looks_whole(self):
        for limit in (2_000, 40_000, 300_000, 1_500_000):

            def full():
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

            log = f"{limit}.h5"
            _, err = self.ness("train", *self.long_run, "-q", "--log", log, code=1, preexec_fn=full)
            lines = [line for line in err.splitlines() if line]
            self.assertEqual(len(lines), 1, err)
            self.assertIn(log, lines[0])
            if not (self.directory / log).exists():
                continue  # refused before there was a log
            # What is left is either refused, or says that it was cut short and holds only whole rows.
            looked = subprocess.run(
                [NESS, "inspect", log, "--json"], cwd=self.directory, capture_output=True, text=True
            )
            if looked.returncode == 0:
                found = json.loads(looked.stdout)
                self.assertEqual((found["status"], found["damaged_rows"]), ("running", []))
            else:
                self.assertIn("--repair", looked.stderr)
                self.ness("inspect", log, "--repair")
                found = self.json("inspect", log)
                self.assertEqual((found["status"], found["damaged_rows"]), ("running", []))

    # ---- check-gradient ----------------------------------------------------------------------------------

    def test_estimators_are_advised_and_compared(self):
        folder = pathlib.Path(XOR).parent
        advice = self.json(
            "advise", folder / "xor-bench.toml", "--bench", folder / "bench-emulated.toml", "--no-dry-run"
        )
        rows = {row["estimator"]: row for row in advice["estimators"]}
        self.assertFalse(rows["conductance-by-voltage"]["allowed"])
        self.assertIn("cannot be held", rows["conductance-by-voltage"]["refused"])
        # Three free nodes: free, two probes of each, and free again; fifteen parameters:
        # free and two steps of each.
        self.assertEqual(rows["node-probing"]["relaxations_a_sample"], 8)
        self.assertEqual(rows["finite-differences-central"]["relaxations_a_sample"], 31)
        self.assertGreater(rows["node-probing"]["seconds_a_step"], 0)
        held = self.json(
            "advise",
            folder / "xor-bench.toml",
            "--bench",
            folder / "bench-emulated-source-meters.toml",
            "--no-dry-run",
        )
        self.assertTrue(
            {row["estimator"]: row for row in held["estimators"]}["conductance-by-voltage"]["allowed"]
        )
        table = self.json(
            "compare", folder / "xor-noisy.toml", "--seeds", 2, "--estimator", "adjoint,probing"
        )["tables"][0]
        self.assertEqual(
            [row["kind"] for row in table["rows"]], ["in situ", "in situ", "deployed", "tuned", "in situ"]
        )
        for row in table["rows"]:
            self.assertEqual(row["seeds"], 2)
            for trial in row["trials"]:
                self.assertEqual(trial["solved"], trial["loss"] < 1e-3)
        self.assertEqual(
            table["rows"][2]["trials"][0]["relaxations"], 0
        )  # the twin, deployed, costs the device nothing
        varied = self.json(
            "compare",
            folder / "xor-noisy.toml",
            "--baselines",
            "--seeds",
            1,
            "--vary",
            "device.variation=0,0.1",
        )
        self.assertEqual([one["value"] for one in varied["tables"]], ["0", "0.1"])
        self.assertIn(
            "expected KEY=VALUE",
            self.refused("compare", folder / "xor-noisy.toml", "--vary", "device.variation"),
        )
        self.assertIn(
            "no estimator 'backprop'",
            self.refused("compare", folder / "xor-noisy.toml", "--estimator", "backprop"),
        )
        self.assertIn(
            "no estimator 'backprop'",
            self.refused("compare", folder / "xor-noisy.toml", "--set", "compare.estimators=[\"backprop\"]"),
        )
        short = self.json("train", XOR, "--set", "budget.relaxations=50", "--log", "budget.h5")
        self.assertEqual(short["end"], "relaxations")
        self.assertLessEqual(short["relaxations"], 50)

    def test_estimators_against_differences(self):
        exact = self.json("check-gradient", XOR, "--estimator", "adjoint")
        self.assertEqual((exact["relaxations"], exact["samples"]), (4, 4))
        self.assertGreater(exact["cosine"], 1 - 1e-9)
        # Extrapolated differences of states that are exact to 1e-12 or better, steps
        # of 1e-4: 1e-7 leaves room.
        self.assertLess(exact["relative_error"], 1e-7)
        some = self.json(
            "check-gradient", XOR, "--estimator", "fd-forward", "--parameters", 5, "--samples", 2
        )
        self.assertEqual((some["parameters"], some["samples"], some["relaxations"]), (5, 2, 12))
        self.assertEqual(some["estimator"], "finite-differences-forward")
        nudged = self.json("check-gradient", XOR, "--estimator", "ep-centred", "--log", "check.h5")
        self.assertTrue(0.5 < nudged["cosine"] <= 1)
        self.assertEqual(
            nudged["relaxations"], 12
        )  # four samples: free, and nudged both ways from the restored state
        self.assertEqual(self.json("inspect", "check.h5")["rows"], 12 + nudged["reference_relaxations"])
        self.assertIn(
            "no estimator 'backprop'", self.refused("check-gradient", XOR, "--estimator", "backprop")
        )
        self.ness("train", XOR, "--set", "training.epochs=5")
        trained = self.json("check-gradient", XOR, "--estimator", "adjoint", "--from", "xor.h5")
        self.assertNotEqual(trained["norm"], exact["norm"])

    # ---- solve -------------------------------------------------------------------------------------------

    def network(self, **changes):
        network = {
            "nodes": [{"clamped": True}, {"g": 0.25, "mu_ref": -1}, {"g": 0.5}],
            "edges": [
                {"source": 0, "target": 1, "law": "linear", "G": 2},
                {"source": 1, "target": 2, "law": "linear", "G": 1},
            ],
            "outputs": [2],
            "kT": 1,
            "c_ref": 1,
        }
        network.update(changes)
        return self.file("net.json", json.dumps(network))

    def test_a_linear_network_is_solved_exactly(self):
        self.network()
        solved = self.json("solve", "net.json", "--clamp", "3", "--target", "0.5")
        G = np.array([[-3.25, 1], [1, -1.5]])
        mu = np.linalg.solve(-G, [2 * 3 - 0.25, 0])
        close = {"rtol": 1e-13, "atol": 1e-15}  # two unknowns, well conditioned: a few roundings
        self.assertEqual(solved["status"], "converged")
        np.testing.assert_allclose(solved["potentials"], [3, *mu], **close)
        np.testing.assert_allclose(solved["edge_currents"], [2 * (3 - mu[0]), mu[0] - mu[1]], **close)
        np.testing.assert_allclose(solved["conductance_matrix"], G, **close)
        self.assertAlmostEqual(solved["max_real_eigenvalue"], max(np.linalg.eigvalsh(G)), places=13)
        self.assertAlmostEqual(solved["loss"], (mu[1] - 0.5) ** 2, places=14)
        costate = np.linalg.solve(-G.T, [0, 2 * (mu[1] - 0.5)])
        gradients = solved["gradients"]
        np.testing.assert_allclose(
            [e["G"] for e in gradients["edges"]],
            [costate[0] * (3 - mu[0]), -(costate[0] - costate[1]) * (mu[0] - mu[1])],
            **close,
        )
        self.assertEqual([leak["node"] for leak in gradients["leaks"]], [1, 2])
        np.testing.assert_allclose(
            [leak["g"] for leak in gradients["leaks"]],
            [-costate[0] * (mu[0] + 1), -costate[1] * mu[1]],
            **close,
        )
        np.testing.assert_allclose(
            [leak["mu_ref"] for leak in gradients["leaks"]], [costate[0] * 0.25, costate[1] * 0.5], **close
        )
        np.testing.assert_allclose(gradients["clamps"], [2 * costate[0]], **close)

        held = self.json(
            "solve", "net.json", "--clamp=-3", "--hold", "1=0.75", "--inject", "2=0.5", "--target", "0"
        )
        self.assertAlmostEqual(held["potentials"][1], 0.75, places=15)
        self.assertAlmostEqual(held["potentials"][2], (0.75 + 0.5) / 1.5, places=14)
        np.testing.assert_allclose(held["conductance_matrix"], [[-1.5]], **close)
        self.assertEqual(held["gradients"]["clamps"], [0])  # the held node stands between

    def test_gradient_entries_are_those_of_the_file(self):
        edges = [
            {"source": 0, "target": 1, "law": "quantum-dot", "gamma": 1, "a": 0.5, "b": 1.8},
            {"source": 1, "target": 2, "law": "quantum-dot", "gamma": 1, "a": 0.5, "b": 0.2, "d": 0.0},
            {"source": 0, "target": 2, "law": "enzyme", "Vf": 1, "Ka": 1, "Kb": 2},
            {"source": 0, "target": 2, "law": "enzyme", "Vf": 1, "Ka": 1, "Kb": 2, "Ki": 3},
        ]
        self.network(edges=edges)
        solved = self.json("solve", "net.json", "--clamp", "1", "--target", "2")
        self.assertEqual(
            [sorted(g) for g in solved["gradients"]["edges"]],
            [sorted(set(e) - {"source", "target", "law"}) for e in edges],
        )

    def test_a_bistable_network_is_solved_from_either_side(self):
        for mu_init in (-6, 7):
            self.network(
                nodes=[{"clamped": True}, {"g": 0.5, "mu_ref": -5, "mu_init": mu_init}, {"g": 1}],
                edges=[
                    {"source": 0, "target": 1, "law": "quantum-dot", "gamma": 6, "a": 22, "b": -3},
                    {"source": 1, "target": 2, "law": "linear", "G": 0.02},
                ],
            )
            solved = self.json("solve", "net.json", "--clamp", "8")
            self.assertLess(solved["max_real_eigenvalue"], 0)
            self.assertEqual(math.copysign(1, solved["potentials"][1]), math.copysign(1, mu_init))

    def test_solve_refuses_what_does_not_fit(self):
        self.network()
        self.assertIn(
            "--clamp has 2 levels; this network has 1", self.refused("solve", "net.json", "--clamp", "1,2")
        )
        self.assertIn(
            "--target has 2 potentials; this network has 1",
            self.refused("solve", "net.json", "--clamp", "1", "--target", "1,2"),
        )
        self.assertIn("must be finite", self.refused("solve", "net.json", "--clamp", "nan"))
        self.assertIn(
            "node 0 is not a free node", self.refused("solve", "net.json", "--clamp", "1", "--hold", "0=1")
        )
        self.assertIn("expected NODE=VALUE", self.refused("solve", "net.json", "--clamp", "1", "--hold", "1"))
        self.network(nodes=[{"clamped": True}, {"g": 0.25, "capacity": -1}, {"g": 0.5}])
        self.assertEqual(
            self.refused("solve", "net.json", "--clamp", "1"),
            "net.json: nodes[1]: 'capacity': expected a number > 0, found -1",
        )

    # ---- progress ----------------------------------------------------------------------------------------

    def test_progress_rewrites_one_line_on_a_terminal(self):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [NESS, "train", *self.long_run, "--log", "x.h5"],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=slave,
        )
        os.close(slave)
        seen = b""
        while select.select([master], [], [], 60)[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
        os.close(master)
        self.assertEqual(process.wait(), 0)
        self.assertRegex(seen, rb"\repoch \d+/15000  loss \S+  [\d,]+ relaxations/s  \S+( s)? left")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
