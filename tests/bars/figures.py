"""Figures of the evidence as numbers, and what a group of rows needs to measure them.

A row says what was measured, its bar, and its figures; every text (of --bars, of docs/evidence.md, of the
README) is made of these numbers.
"""
import contextlib
import dataclasses
import json
import math
import pathlib
import re
import statistics
import subprocess
import tempfile

root = pathlib.Path(__file__).resolve().parents[2]
experiments = root / "tools" / "experiments"
commands = root / "tests" / "tools" / "commands"
python = "/usr/bin/python3"
FIRST_SEED = 1000  # nobody chose it for what it gives


def slug(text):
    """As part of an identifier."""
    return re.sub(r"[^a-z0-9^<>=.]+", "-", text.lower()).strip("-")


def seeds_of(n):
    return range(FIRST_SEED, FIRST_SEED + n)


@dataclasses.dataclass
class Figure:
    """One quantity: of n cases the median and the range, how many of n, or the largest of n.

    `kind` is "spread" (median, least, greatest), "count" (how many of n that were drawn: min and max are the
    95 % interval of the share, times n), "all" (how many of a list that was gone through to its end) or
    "largest" (only the largest of n is known: median and min are None).
    """

    name: str
    kind: str
    n: int
    of: str
    median: float | None
    min: float | None
    max: float | None
    form: str = ".3g"
    unit: str = ""

    def number(self, x):
        return format(x, self.form) + (f" {self.unit}" if self.unit else "")

    def value(self):
        """The figure alone, as it stands in a table."""
        if self.kind in ("count", "all"):
            return f"{self.median:,.0f} of {self.n:,}"
        return self.number(self.max if self.kind == "largest" else self.median)

    def range(self):
        if self.kind == "all":
            return "all that there are"
        if self.kind == "largest":
            return "the largest"
        if self.kind == "count":
            return f"95 %: {math.ceil(self.min):,} to {math.floor(self.max):,}"
        if self.n == 1:
            return "one"
        return f"{format(self.min, self.form)} to {self.number(self.max)}"

    def text(self):
        """In a sentence."""
        if self.kind in ("count", "all"):
            return f"{self.value()} {self.name}"
        if self.kind == "largest":
            return f"{self.name} at most {self.value()}"
        return f"{self.name} {self.value()}" + (f" ({self.range()})" if self.n > 1 else "")


def spread(name, values, form=".3g", unit="", of="seeds"):
    values = [math.inf if v is None else float(v) for v in values]
    if not values:
        raise ValueError(f"{name}: nothing was measured")
    return Figure(
        name, "spread", len(values), of, statistics.median(values), min(values), max(values), form, unit
    )


def interval(k, n):
    """95 % interval of a share of which k of n were seen (E. B. Wilson, J. Am. Stat. Assoc. 22, 209)."""
    z = 1.959964
    middle, width = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    shrunk = 1 + z * z / n
    # At 0 and n it is these to rounding.
    return (0.0 if k == 0 else (middle - width) / shrunk), (n if k == n else (middle + width) / shrunk)


def count(name, k, n, of="seeds"):
    low, high = interval(k, n)
    return Figure(name, "count", n, of, float(k), low, high)


def of_all(name, k, n, of):
    return Figure(name, "all", n, of, float(k), float(k), float(k))


def largest(name, value, n, of, form=".1e", unit=""):
    return Figure(name, "largest", n, of, None, None, float(value), form, unit)


@dataclasses.dataclass
class Row:
    group: str
    key: str  # within its group
    what: str
    bar: str
    figures: list
    met: bool
    note: str = ""  # words of the program that was run

    def text(self):
        return "; ".join([figure.text() for figure in self.figures] + ([self.note] if self.note else []))


class Measurement:
    """Runs programs of a build directory and collects the rows of groups."""

    def __init__(self, build):
        self.build = build
        self.ness = build / "tools" / "ness"
        self.tests = build / "tests"
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="ness-bars-"))
        self.rows = []

    def report(self, group, key, what, bar, figures, met, note=""):
        row = Row(group, slug(key), what, bar, figures, bool(met), note)
        self.rows.append(row)
        print(f"{'met  ' if met else 'SHORT'} | {group} | {what} | {bar} | {row.text()}", flush=True)

    def run(self, *command, check=True):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=root)
        if check and done.returncode != 0:
            raise RuntimeError(
                f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-2000:]}\n"
                f"{done.stderr[-2000:]}"
            )
        return done

    def lines(self, *command, check=True):
        """The lines of JSON that a program prints."""
        return [json.loads(line) for line in self.run(*command, check=check).stdout.splitlines()]

    def script(self, *command):
        """Whether a test script passes, and the last line that it prints."""
        done = self.run(python, *command, check=False)
        said = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing printed"]
        return done.returncode == 0, said[-1]

    def train(self, experiment, log, *settings, seed=FIRST_SEED, options=()):
        command = [self.ness, "train", experiments / experiment, "--log", log, "--seed", seed, "--json", "-q"]
        return json.loads(self.run(*command, *sets(settings), *options).stdout)

    def seeds(self, experiment, n, *settings):
        command = [self.tests / "ness-seeds", experiments / experiment, "--seeds", n, "--first", FIRST_SEED]
        return sorted(self.lines(*command, *sets(settings)), key=lambda line: line["seed"])

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


def sets(settings):
    return [word for setting in settings for word in ("--set", setting)]


def losses(lines, of="train"):
    """Of runs of ness-seeds; infinite where a sample failed."""
    return [
        line[of]["loss"] if line[of]["loss"] is not None and line[of]["failures"] == 0 else math.inf
        for line in lines
    ]
