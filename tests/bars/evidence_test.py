"""The record of the evidence, the page, and the short form: what they must refuse, they refuse.

   evidence_test.py      (no build is needed: groups and values are made up)"""
import contextlib
import copy
import io
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import evidence
import figures
import record as records
import short

MACHINE = {"processor": "P", "cores": 2, "compiler": "C", "vector_target": "V"}


class Bars:
    """What groups report to."""

    def __init__(self):
        self.rows = []

    def report(self, group, key, what, bar, found, met, note=""):
        self.rows.append(figures.Row(group, figures.slug(key), what, bar, found, met, note))


def group(bars, losses=(1.0, 3.0, 2.0)):
    found = [figures.count("solved", 2, 3), figures.spread("loss", losses, ".1f")]
    bars.report("made", "up", "a row", ">= 2", found, True)


def git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e", *words],
        cwd=folder,
        check=True,
        capture_output=True,
    )


class Numbers(unittest.TestCase):
    def test_spread(self):
        figure = figures.spread("loss", [3, 1, 2, 10], ".1f", "kT")
        self.assertEqual((figure.median, figure.min, figure.max, figure.n), (2.5, 1, 10, 4))
        self.assertEqual(figure.text(), "loss 2.5 kT (1.0 to 10.0 kT)")
        self.assertEqual(figures.spread("loss", [None, 1, 2]).max, math.inf)  # a failure is no small loss
        with self.assertRaises(ValueError):
            figures.spread("loss", [])

    def test_interval(self):
        # R. G. Newcombe, Statistics in Medicine 17, 857 (1998), table I, method 3: 81 of 263, 15 of 148,
        # 0 of 20, 1 of 29.
        for k, n, low, high in (
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ):
            found = figures.interval(k, n)
            self.assertAlmostEqual(found[0] / n, low, 4)
            self.assertAlmostEqual(found[1] / n, high, 4)
        self.assertEqual(figures.interval(20, 20)[1], 20)


class Recorded(unittest.TestCase):
    """A record, its page and README in a work tree of their own."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        (self.root / "docs").mkdir()
        (self.root / "code").write_text("1")
        readme = "".join(f"| {label} | old |\n" for label in records.readme_rows)
        (self.root / "README.md").write_text(readme)
        (self.root / "template.md").write_text("# Page\n\n{{measured}}\n\n{{table made}}\n\n{{short}}\n")
        git(self.root, "init", "-q")
        self.commit("first")
        self.record = records.Record(self.root / "docs" / "evidence.json")
        self.sources = evidence.Sources(self.root)
        self.documents = evidence.Documents(self.root, self.root / "template.md")
        self.runs = 0

    def commit(self, message):
        git(self.root, "add", "-A")
        git(self.root, "commit", "-qm", message)

    def measure(self, function=group, **options):
        def counted(bars):
            self.runs += 1
            function(bars)

        with contextlib.redirect_stdout(io.StringIO()):
            return evidence.measure(Bars(), self.record, self.sources, {"made": counted}, MACHINE, **options)

    def faults(self):
        return self.documents.faults(records.Record(self.record.path), {"made": group})

    def test_resumes(self):
        self.assertEqual(self.measure(), 0)
        first = self.record.groups["made"]["commit"]
        self.record = records.Record(self.record.path)  # of another run
        self.measure()
        self.assertEqual(self.runs, 1)
        self.documents.write(self.record)
        self.commit("the record itself and a document")
        self.measure()
        self.assertEqual(self.runs, 1)
        self.measure(again=True)
        self.assertEqual(self.runs, 2)
        self.assertEqual(self.record.groups["made"]["commit"], first)  # the same code
        (self.root / "code").write_text("2")
        self.commit("other code")
        self.measure()
        self.assertEqual(self.runs, 3)
        self.assertEqual(self.record.groups["made"]["commit"], self.sources.commit())

    def test_what_is_not_committed(self):
        (self.root / "code").write_text("2")
        with self.assertRaises(SystemExit):
            self.measure()
        self.assertEqual(self.runs, 0)
        self.measure(modified=True)
        self.assertTrue(self.record.groups["made"]["modified"])
        self.assertIn("modified", records.page(self.record, "{{measured}}"))
        git(self.root, "checkout", "code")
        self.measure()  # it is no figure of this commit
        self.assertEqual(self.runs, 2)
        self.assertFalse(self.record.groups["made"]["modified"])

    def test_a_group_that_fails_leaves_the_record(self):
        self.measure()
        before = copy.deepcopy(self.record.groups)

        def broken(bars):
            raise RuntimeError("no")

        self.assertEqual(self.measure(broken, again=True), 1)
        self.assertEqual(records.Record(self.record.path).groups, before)

    def test_page(self):
        self.measure()
        self.documents.write(self.record)
        self.assertEqual(self.faults(), [])
        page = self.documents.page.read_text()
        self.assertIn("| a row: solved | 2 of 3 | 95 %: 1 to 2 | 3 seeds | >= 2 |", page)
        self.assertIn("| - loss | 2.0 | 1.0 to 3.0 | 3 seeds |", page)
        self.documents.page.write_text(page.replace("| 2.0 |", "| 1.9 |"))
        self.assertEqual(len(self.faults()), 1)
        self.documents.page.write_text(page)
        self.documents.readme.write_text(self.documents.readme.read_text() + "\n")
        self.assertEqual(self.faults(), [])  # the rest of the README is free
        self.record.groups["made"]["rows"][0]["figures"][1]["median"] = 2.5
        self.record.write()
        self.assertEqual(len(self.faults()), 1)

    def test_the_readme_repeats_the_record(self):
        with contextlib.redirect_stdout(io.StringIO()):
            self.measure()
        bars = Bars()
        bars.report("xor", "free", "XOR", "", [figures.count("solved", 98, 100)], True)
        self.record.put("xor", bars.rows, {**self.record.groups["made"]})
        made = records.readme(self.record, self.documents.readme.read_text())
        self.assertIn("| XOR, simulated quantum dots | 98 of 100 seeds |\n", made)
        self.assertIn("| killed runs that replay bit for bit | old |\n", made)  # not in this record
        with self.assertRaises(ValueError):
            records.readme(self.record, "no such row")

    def test_what_every_row_has(self):
        self.measure()
        self.documents.write(self.record)
        whole = copy.deepcopy(self.record.groups)

        def without(change, words):
            self.record.groups = copy.deepcopy(whole)
            change(self.record.groups["made"])
            found = self.record.faults()
            self.assertTrue(found and all(words in fault for fault in found), found)

        def of_figure(key, value):
            return lambda made: made["rows"][0]["figures"][1].update({key: value})

        without(lambda made: made.update(commit=""), "no commit")
        without(of_figure("n", 0), "no n")
        without(of_figure("max", None), "no range")
        without(of_figure("max", 1.5), "outside its range")
        without(of_figure("median", "nan"), "outside its range")
        without(lambda made: made["rows"].append(made["rows"][0]), "twice")
        without(lambda made: made.update(rows=[]), "no rows")

    def test_a_figure_typed_into_the_template(self):
        self.measure()
        self.documents.template += "| XOR | 100 of 100 |\n"
        self.documents.write(self.record)
        self.assertEqual(len(self.faults()), 1)
        self.documents.template = "{{measured}}\n"
        self.documents.write(self.record)
        self.assertIn("0 times", self.faults()[0])  # a group that the page leaves out


class ShortForm(unittest.TestCase):
    recorded = [
        {
            "id": "short/xor",
            "figure": records.of_figure(figures.spread("epochs", [90, 100])),
            "low": 60.0,
            "high": 150.0,
            "rule": "a factor of 1.5",
        }
    ]

    def judge(self, *values):
        return short.judge(self.recorded, {"xor": {"epochs": list(values)}})

    def test_within(self):
        self.assertEqual(self.judge(60, 95, 150), [])

    def test_outside(self):
        self.assertEqual(len(self.judge(95, 151)), 1)
        self.assertEqual(len(self.judge(59.9, 151)), 2)
        self.assertIn("expected 60 to 150", self.judge(151)[0])
        for nothing in (math.nan, math.inf, None):
            self.assertEqual(len(self.judge(nothing)), 1)
        self.assertEqual(len(self.judge()), 1)

    def test_a_record_whose_range_excludes_the_figure(self):
        excluding = [{**self.recorded[0], "low": 96.0}]
        self.assertEqual(len(short.judge(excluding, {"xor": {"epochs": [95]}})), 1)
        self.assertEqual(len(short.judge([], {"xor": {"epochs": [95]}})), 1)

    def test_as_it_is_run(self):
        """From the record's file to the exit: measured values that leave the range fail."""
        row = short.Short("xor", "made up", 2, 1, lambda bars, n: {"epochs": [95] * n}, {})
        absent = short.Short("none", "made up", 2, 1, None, {}, lambda: False)
        rows, short.rows = short.rows, [row, absent]
        self.addCleanup(setattr, short, "rows", rows)
        record = records.Record("none.json")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            self.assertEqual(len(evidence.run_short(None, record)), 1)  # nothing recorded
            record.short = {"rows": self.recorded}
            self.assertEqual(evidence.run_short(None, record), [])
            record.short = {"rows": [{**self.recorded[0], "high": 94.0}]}
            self.assertEqual(len(evidence.run_short(None, record)), 1)
        self.assertIn("skipped", said.getvalue())

    def test_widened(self):
        self.assertEqual((short.times(2).low(10), short.times(2).high(10)), (5, 20))
        self.assertEqual((short.plus(1, "").low(10), short.plus(1, "").high(10)), (9, 11))


if __name__ == "__main__":
    unittest.main()
