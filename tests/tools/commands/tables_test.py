"""Tables as people have them, from outside: what numpy and the csv module write, packed or not, is one and
the same training; what was learned of a table is in its log, and goes on.

    tables_test.py NESS
"""
import csv
import gzip
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

NESS = os.path.abspath(sys.argv.pop(1))

EXPERIMENT = """\
[network]
law = "linear"
layers = [2, 4, 2]

[parameters.G]
log-normal = [0.0, 0.5]

[parameters.g]
value = 0.5

[task]
kind = "csv"
train = "table.csv"
inputs = ["x", "y"]
targets = ["kind"]
classes = 2

[loss]
kind = "cross-entropy"
scale = 10.0

[optimizer]
rate = 0.01

[training]
epochs = 3
batch = 10
"""
N = 60
random = np.random.default_rng(7)
KIND = np.arange(N) % 2
X, Y = random.normal(size=N) + KIND, 3 * random.normal(size=N) + 5
NUMBERS = np.column_stack([X, Y, KIND])


def text_of(write):
    stream = io.StringIO(newline="")
    write(stream)
    return stream.getvalue()


def by_csv(names, **dialect):
    def write(stream):
        out = csv.writer(stream, **dialect)
        out.writerow(names)
        out.writerows([repr(x), repr(y), k] for x, y, k in zip(X.tolist(), Y.tolist(), KIND.tolist()))

    return text_of(write)


def by_numpy(**options):
    return text_of(lambda stream: np.savetxt(stream, NUMBERS, fmt="%.17g", **options))


class Tables(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ness-tables-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def ness(self, *arguments, code=0):
        done = subprocess.run(
            [NESS, *map(str, arguments), "--json"],
            cwd=self.directory,
            text=True,
            capture_output=True,
            timeout=300,
        )
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout)

    def experiment(self, text=EXPERIMENT, **changes):
        for before, after in changes.pop("replace", []):
            self.assertIn(before, text)
            text = text.replace(before, after)
        (self.directory / "e.toml").write_text(text)

    def trained(self, content, *settings, packed=False, name="table.csv"):
        """The digest of the trained parameters, and the losses."""
        data = content.encode() if isinstance(content, str) else content
        (self.directory / name).write_bytes(gzip.compress(data) if packed else data)
        for log in self.directory.glob("*.h5"):
            log.unlink()
        words = [word for setting in settings for word in ("--set", setting)]
        done = self.ness("train", "e.toml", "-q", *words)
        return done["theta_digest"], done["train"]["loss"]

    def test_every_dialect_is_the_same_training(self):
        self.experiment()
        names = ["x", "y", "kind"]
        plain = self.trained(by_csv(names))
        written = {
            "excel": by_csv(names, dialect="excel"),
            "excel-tab": by_csv(names, dialect="excel-tab"),
            "unix, all in quotes": by_csv(names, dialect="unix"),
            "semicolons, after a byte order mark": "\ufeff"
            + by_csv(names, delimiter=";", lineterminator="\r\n"),
            "numpy, comma": by_numpy(delimiter=",", header="x,y,kind"),
            "numpy, blanks": by_numpy(header="x y kind"),
            "numpy, tab, comments": by_numpy(delimiter="\t", header="of today\nx\ty\tkind", footer="end"),
            "numpy, names without #": by_numpy(delimiter=",", header="x,y,kind", comments=""),
        }
        for name, content in written.items():
            with self.subTest(name):
                self.assertEqual(self.trained(content), plain)
                self.assertEqual(self.trained(content, packed=True), plain)
        with self.subTest("German Excel"):
            german = by_csv(names, delimiter=";", lineterminator="\r\n").replace(".", ",")
            self.assertEqual(self.trained("\ufeff" + german, "task.decimal_comma=true"), plain)
        with self.subTest("numpy, no names"):
            by_number = ('task.inputs="1..2"', 'task.targets="3"', "task.header=false")
            self.assertEqual(self.trained(by_numpy(delimiter=","), *by_number), plain)
        with self.subTest("numpy.savetxt packs a file of this name itself"):
            path = self.directory / "table.csv.gz"
            np.savetxt(path, NUMBERS, fmt="%.17g", delimiter=",", header="x,y,kind")
            self.assertEqual(path.read_bytes()[:2], b"\x1f\x8b")
            self.assertEqual(self.trained(by_csv(names), 'task.train="table.csv.gz"'), plain)
        with self.subTest("targets in a file of their own"):
            np.savetxt(self.directory / "targets.txt", KIND, fmt="%d")
            np.savetxt(self.directory / "inputs.txt", NUMBERS[:, :2], fmt="%.17g")
            apart = ('task.train="inputs.txt"', 'task.train_targets="targets.txt"', 'task.inputs="all"')
            self.assertEqual(self.trained("", 'task.targets="1"', "task.header=false", *apart), plain)

    def test_what_was_learned_is_in_the_log_and_is_used_again(self):
        words = [("wolf", "ant")[k] for k in KIND]
        rows = [f"{x!r};{y!r};{word}" for x, y, word in zip(X.tolist(), Y.tolist(), words)]
        content = ("x;y;kind\r\n" + "\r\n".join(rows) + "\r\n").encode()
        (self.directory / "table.csv").write_bytes(gzip.compress(content))
        options = "classes = 2\nstandardise = true\ntest_share = 0.2\nsplit_seed = 4\nvalidation = 8"
        self.experiment(replace=[("classes = 2", options), ("epochs = 3", "epochs = 4000")])
        whole = self.ness("train", "e.toml", "--log", "whole.h5", "-q")
        with h5py.File(self.directory / "whole.h5") as log:
            text = bytes(log["entry/experiment"][()]).decode()
        self.assertIn('labels = ["ant", "wolf"]', text)  # class 0 is the ant
        stated = re.search(r'^standard = "(.*)"$', text, re.M)[1]
        pairs = [tuple(map(float, pair.split())) for pair in stated.split(", ")]
        # Of 60 rows 12 are for the test, and 8 of the others for validation; these moments are of the rest.
        self.assertEqual((whole["train"]["samples"], whole["validation"]["samples"]), (40, 8))
        self.assertEqual(whole["test"]["samples"], 12)
        for (mean, deviation), column in zip(pairs, (X, Y)):
            self.assertNotAlmostEqual(mean, column.mean(), 6)
            self.assertNotAlmostEqual(mean, 0, 3)
            self.assertLess(abs(deviation - column.std()), 0.5 * column.std())

        # The same run, stopped and continued: the same bits, from the same numbers.
        process = subprocess.Popen(
            [NESS, "train", "e.toml", "--log", "cut.h5", "-q"],
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None:
            looked = subprocess.run(
                [NESS, "inspect", "cut.h5", "--quick", "--json"],
                cwd=self.directory,
                capture_output=True,
                text=True,
            )
            if looked.returncode == 0 and json.loads(looked.stdout)["steps"] > 0:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        resumed = self.ness("train", "--resume", "cut.h5")
        self.assertEqual(resumed["theta_digest"], whole["theta_digest"])
        self.assertEqual(resumed["test"], whole["test"])
        with h5py.File(self.directory / "cut.h5") as log:
            self.assertEqual(bytes(log["entry/experiment"][()]).decode(), text)
        self.assertTrue(self.ness("replay", "cut.h5")["equal"])
        evaluated = self.ness("evaluate", "cut.h5")
        for part in ("train", "validation", "test"):
            self.assertEqual(evaluated[part], whole[part], part)

        # Another table is judged by the numbers of the first, though it has others of its own.
        other = "x;y;kind\n" + "".join(f"{x!r};{y!r};wolf\n" for x, y in zip((X + 1).tolist(), Y.tolist()))
        (self.directory / "other.csv").write_text(other)
        other_text = text.replace("test_share = 0.2\n", f'test = "{self.directory}/other.csv"\n')
        (self.directory / "other.toml").write_text(other_text.replace("epochs = 4000", "epochs = 1"))
        judged = self.ness("train", "other.toml", "-q")
        self.assertEqual(judged["test"]["samples"], N)
        with h5py.File(self.directory / "other.h5") as log:
            self.assertIn(stated, bytes(log["entry/experiment"][()]).decode())


if __name__ == "__main__":
    unittest.main()
