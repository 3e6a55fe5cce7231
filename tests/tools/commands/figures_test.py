"""Figures that say what they say, from outside: samples that are always left out, runs that could use
none, best and last parameters, test data that are training data.

    figures_test.py NESS EXPERIMENTS
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

from log_checks import tampered

NESS, EXPERIMENTS = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()


def no_figure(text):
    """What is printed where a number is none."""
    return re.findall(r"(?<![\w.])-?(?:nan|inf|null|NaN|Infinity)(?!\w)", text)


class Figures(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ness-figures-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def ness(self, *words, code=0):
        done = subprocess.run(
            [NESS, *map(str, words)], cwd=self.directory, capture_output=True, text=True, timeout=600
        )
        self.assertEqual(done.returncode, code, f"{words}\n{done.stdout}\n{done.stderr}")
        self.assertEqual(no_figure(done.stdout), [], done.stdout)
        return done.stdout, done.stderr

    def json(self, *words, code=0):
        return json.loads(self.ness(*words, "--json", code=code)[0])

    def bench(self, *changes, file="bench-emulated.toml"):
        text = (EXPERIMENTS / file).read_text()
        for before, after in changes:
            self.assertIn(before, text)
            text = text.replace(before, after)
        (self.directory / file).write_text(text)
        shutil.copy(EXPERIMENTS / "xor-bench.toml", self.directory)
        return ["xor-bench.toml", "--device", "emulated", "--bench", file, "--no-check"]

    def everywhere(self, log):
        """No command prints a figure that is none, of this log."""
        for words in (["inspect", log, "--steps", 3, "--rows", 3], ["evaluate", log]):
            self.ness(*words)
            self.json(*words)

    # ---- samples that are left out -----------------------------------------------------------------------

    def test_half_of_the_truth_table_in_compliance_is_no_success(self):
        words = self.bench(("compliance = 1e-4 ", "compliance = 1e-6 "))
        settings = ["--set", "training.epochs=12", "--set", "training.target_loss=0.3"]
        out, err = self.ness("train", *words, *settings, "--log", "run.h5", code=1)
        self.assertRegex(
            err, r"warning: step 0: \d of 4 samples left out: .*in compliance at wire 'input-\d' \(input-\d, "
        )
        self.assertIn("compliance 1e-06 A", err)
        self.assertRegex(err, r"this run has failed: .*never used: .*in compliance at wire 'input-\d'")
        self.assertIn("of a part of the samples", out)
        log = self.json("inspect", "run.h5")
        self.assertEqual(log["status"], "failed")
        self.assertIn("never used", log["reason"])
        self.assertGreater(log["last_epoch"]["left_out"], 0)
        self.assertTrue(log["last_epoch"]["loss_is_of_a_part"])
        self.assertEqual(log["best"], {})
        with h5py.File(self.directory / "run.h5") as file:
            epochs = file["entry/epochs"]
            self.assertTrue(np.all(epochs["samples"][:] + epochs["left_out"][:] == 4))
            self.assertTrue(np.all(epochs["left_out"][:] > 0))
        found = self.json("train", *words, *settings, "--log", "again.h5", "-q", code=1)
        self.assertEqual((found["status"], found["end"]), ("failed", "epochs"))  # no target was reached
        self.assertTrue(found["loss_is_of_a_part"])
        self.assertEqual(found["loss_samples"] + found["loss_left_out"], 4)
        self.assertIn("wire 'input-", found["left_out_for"])
        self.assertGreater(len(found["never_used"]), 0)
        self.assertTrue(found["train"]["loss_is_of_a_part"])
        self.everywhere("run.h5")

    def test_a_run_that_never_settles_stops_by_itself(self):
        words = self.bench(
            ("tolerance = 0.002 ", "tolerance = 0.0000001 "), ("timeout = 20.0", "timeout = 0.5")
        )
        out, err = self.ness("train", *words, "--set", "training.epochs=30", "--log", "run.h5", code=1)
        self.assertRegex(err, r"step 0: 4 of 4 samples left out: .*timed out at wire 'read-\d' \(scanner")
        self.assertRegex(err, r"this run has failed: stopped: every sample was left out .* 10 steps")
        found = self.json(
            "train",
            *words,
            "--set",
            "training.epochs=30",
            "--log",
            "again.h5",
            "--set",
            "training.max_unusable_steps=2",
            "-q",
            code=1,
        )
        self.assertEqual((found["end"], found["steps"]), ("unusable", 2))
        self.assertNotIn("loss", found)
        self.assertNotIn("test", found)
        self.everywhere("run.h5")
        self.assertTrue(self.json("replay", "run.h5")["equal"])

    def test_a_meter_over_range_is_named_with_its_range(self):
        words = self.bench(("range = 1.0 ", "range = 0.1 "))
        settings = ["--set", "training.epochs=30", "--log", "run.h5"]
        done = subprocess.run(
            [NESS, "train", *words, *settings],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=600,
        )
        self.assertRegex(done.stderr, r"over range at wire 'read-\d' \(scanner, range 0.1 V, node \d\)")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(no_figure(done.stdout + done.stderr), [])
        self.everywhere("run.h5")

    def test_a_run_that_spent_its_time_says_so(self):
        words = self.bench()
        found = self.json("train", *words, "--set", "budget.time=0.5", "--log", "run.h5", "-q")
        self.assertEqual((found["status"], found["end"]), ("finished", "time"))
        self.assertIn("limit of device time", self.json("inspect", "run.h5")["reason"])

    # ---- best and last -----------------------------------------------------------------------------------

    # A rate at which the loss goes up and down.
    ROUGH = ["--set", "training.epochs=40", "--set", "training.target_loss=0", "--set", "optimizer.rate=1.0"]

    def test_the_best_parameters_are_kept_and_offered(self):
        xor = EXPERIMENTS / "xor.toml"
        out, _ = self.ness("train", xor, *self.ROUGH, "--log", "text.h5")
        self.assertRegex(out, r"the last parameters:\n  train .*\n")
        self.assertRegex(out, r"the best parameters by training loss \(\S+, after \d+ steps\):\n  train ")
        found = self.json("train", xor, *self.ROUGH, "--log", "run.h5", "-q")
        best = found["best"]
        self.assertEqual((best["by"], best["is_last"], found["parameters"]), ("training loss", False, "last"))
        with h5py.File(self.directory / "run.h5") as file:
            losses = file["entry/training/loss"][:]
            epochs = {
                key: file["entry/epochs"][key][:] for key in ("best", "best_by", "best_step", "best_loss")
            }
        self.assertEqual(best["step"], int(np.argmin(losses)))
        self.assertEqual(best["loss"], losses.min())
        running = np.minimum.accumulate(losses)
        np.testing.assert_array_equal(epochs["best_loss"], running)
        np.testing.assert_array_equal(epochs["best_step"], [list(losses).index(loss) for loss in running])
        np.testing.assert_array_equal(epochs["best"], np.diff(running, prepend=np.inf) < 0)
        self.assertEqual(set(epochs["best_by"]), {1})
        # Cold starts at the parameters that were measured from cold starts: the same loss, 24 digits of which
        # nothing depends on the order.
        self.assertAlmostEqual(best["train"]["loss"], best["loss"], delta=1e-12)
        self.assertGreater(found["train"]["loss"], best["train"]["loss"])
        for words, kind, digest in (
            (["--best"], "best", best["theta_digest"]),
            (["--step", best["step"]], "step", best["theta_digest"]),
            ([], "last", found["theta_digest"]),
            (["--last"], "last", found["theta_digest"]),
        ):
            evaluated = self.json("evaluate", "run.h5", *words)
            self.assertEqual((evaluated["parameters"], evaluated["theta_digest"]), (kind, digest))
        self.assertRegex(
            self.ness("evaluate", "run.h5", "--best")[0],
            r"parameters the best by training loss, \S+ in epoch \d+",
        )
        self.assertTrue(self.json("replay", "run.h5")["equal"])

    def test_inspect_names_the_checkpoint_of_the_best_step(self):
        self.ness(
            "train",
            EXPERIMENTS / "xor.toml",
            *self.ROUGH,
            "--set",
            "training.checkpoint_every=1",
            "--log",
            "run.h5",
            "-q",
        )
        best = self.json("inspect", "run.h5")["best"]
        self.assertGreater(best["step"], 0)
        at = self.json("evaluate", "run.h5", "--checkpoint", best["checkpoint"])
        self.assertEqual(at["step"], best["step"])
        self.assertAlmostEqual(at["train"]["loss"], best["loss"], delta=1e-12)
        self.assertIn(
            f"parameters after {best['step']} steps (checkpoint {best['checkpoint']})",
            self.ness("inspect", "run.h5")[0],
        )
        loss = self.json("inspect", "run.h5")["loss"]
        self.assertEqual((loss["best_step"], loss["best_checkpoint"]), (best["step"], best["checkpoint"]))

    def test_large_networks_keep_the_best_parameters_too(self):
        # No vector in the steps, and few checkpoints: the last one carries it.
        settings = [*self.ROUGH, "--set", "log.full_theta=0", "--set", "training.checkpoint_every=40"]
        found = self.json("train", EXPERIMENTS / "xor.toml", *settings, "--log", "run.h5", "-q")
        best = self.json("evaluate", "run.h5", "--best")
        self.assertEqual(best["theta_digest"], found["best"]["theta_digest"])

    def test_early_stopping_offers_the_best_by_validation(self):
        settings = [
            "training.epochs=60",
            "training.validate_every=1",
            "training.patience=8",
            "training.target_loss=0",
            "task.validation=5",
            "optimizer.rate=0.3",
        ]
        words = [word for setting in settings for word in ("--set", setting)]
        found = self.json("train", EXPERIMENTS / "table.toml", *words, "--log", "run.h5", "-q")
        best = found["best"]
        self.assertEqual((found["end"], best["by"]), ("patience", "validation loss"))
        self.assertFalse(best["is_last"])
        with h5py.File(self.directory / "run.h5") as file:
            losses = file["entry/epochs/validation_loss"][:]
        epoch = int(np.argmin(losses))
        self.assertEqual((best["loss"], best["step"]), (losses[epoch], epoch + 1))
        self.assertAlmostEqual(best["validation"]["loss"], best["loss"], delta=1e-12)
        self.assertEqual(self.json("evaluate", "run.h5", "--best")["theta_digest"], best["theta_digest"])
        self.assertTrue(self.json("replay", "run.h5")["equal"])

    def test_a_resumed_run_chooses_the_same(self):
        xor = EXPERIMENTS / "xor.toml"
        whole = self.json("train", xor, *self.ROUGH, "--log", "whole.h5", "-q")
        # A log as a kill leaves it: the counts say where it ends.
        self.ness("train", xor, *self.ROUGH, "--log", "cut.h5", "-q")
        with tampered(self.directory / "cut.h5") as file:
            file["committed"][:] = [25 * 4, 25, 25, 2]
            file["entry/exit_status"][()] = b"running"
        resumed = self.json("train", "--resume", "cut.h5", "-q")
        self.assertEqual(resumed["best"], whole["best"])
        self.assertEqual(resumed["theta_digest"], whole["theta_digest"])

    # ---- test data and accuracy ----------------------------------------------------------------------------

    def test_the_table_of_xor_is_no_test_set(self):
        out, _ = self.ness("train", EXPERIMENTS / "xor.toml", "--log", "run.h5", "-q")
        self.assertIn("the test data are the training data: no test loss", out)
        self.assertNotRegex(out, r"(?m)^  test ")
        self.assertRegex(out, r"(?m)^  train +loss \S+  accuracy 1.0000  \(4 samples")
        evaluated = self.json("evaluate", "run.h5")
        self.assertNotIn("test", evaluated)
        self.assertEqual((evaluated["train"]["is_test_set_too"], evaluated["train"]["accuracy"]), (True, 1))
        untrained = self.json(
            "train", EXPERIMENTS / "xor.toml", "--set", "training.epochs=1", "--log", "b.h5", "-q"
        )
        self.assertIn(untrained["train"]["accuracy"], (0, 0.25, 0.5, 0.75))

    # ---- weighting -----------------------------------------------------------------------------------------

    def test_an_epoch_is_the_mean_of_its_samples(self):
        self.ness(
            "train",
            EXPERIMENTS / "table.toml",
            "--set",
            "training.epochs=5",
            "--set",
            "training.batch=20",
            "--log",
            "run.h5",
            "-q",
        )
        with h5py.File(self.directory / "run.h5") as file:
            losses, epochs = file["entry/training/loss"][:], file["entry/epochs/loss"][:]
        np.testing.assert_allclose(epochs, (20 * losses[0::2] + losses[1::2]) / 21, rtol=1e-14)
        self.assertGreater(np.max(np.abs(epochs - (losses[0::2] + losses[1::2]) / 2)), 1e-3)

    # ---- gradients -----------------------------------------------------------------------------------------

    def test_a_gradient_is_compared_with_that_of_the_exact_device(self):
        noisy = self.json("check-gradient", EXPERIMENTS / "xor-noisy.toml")
        exact = self.json("check-gradient", EXPERIMENTS / "xor-noisy.toml", "--set", "device.read_noise=0")
        self.assertEqual((noisy["reference"], noisy["reference_error"]), ("the device without noise", 0))
        self.assertAlmostEqual(noisy["reference_norm"], exact["reference_norm"], delta=1e-9)
        self.assertGreater(exact["cosine"], 0.999)
        self.assertGreater(noisy["cosine"], 0.9)
        # What it is off by is what its readings say that it may be: six standard errors.
        self.assertLess(
            noisy["relative_error"], exact["relative_error"] + 6 * noisy["error"] / noisy["reference_norm"]
        )

    # ---- compare -------------------------------------------------------------------------------------------

    def test_a_comparison_prints_no_figure_that_is_none(self):
        words = [
            "compare",
            EXPERIMENTS / "xor-noisy.toml",
            "--seeds",
            2,
            "--estimator",
            "spsa",
            "--set",
            "training.epochs=2",
            "-q",
        ]
        out, _ = self.ness(*words)
        table = self.json(*words)["tables"][0]["rows"][0]
        self.assertEqual(table["parameters"], "last")
        for trial in table["trials"]:
            self.assertNotIn("test_loss", trial)  # the test data are the training data


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
