"""The short form of the evidence: rows of the page, small enough for every run of the tests.

Each is recorded over many seeds with the range that it may take (docs/evidence.json, "short"), and measured
again on some of these seeds. Other processors and compilers round differently, which a training amplifies:
a range is wider than what was recorded, by a stated rule.
"""
import dataclasses
import json
import math
import os
import pathlib

import bench
import learning
import truth
from figures import FIRST_SEED, commands, losses, python, root, seeds_of, spread


@dataclasses.dataclass
class Widened:
    """Of what was recorded, the range that is allowed."""

    rule: str
    low: object  # of the least recorded value
    high: object  # of the greatest


def times(factor):
    return Widened(
        f"the recorded range, a factor of {factor:g} either way", lambda x: x / factor, lambda x: x * factor
    )


def plus(margin, why):
    return Widened(
        f"the recorded range, {margin:g} either way: {why}", lambda x: x - margin, lambda x: x + margin
    )


def within(low, high, why):
    return Widened(why, lambda _: low, lambda _: high)


@dataclasses.dataclass
class Short:
    key: str
    what: str
    recorded: int  # seeds
    checked: int
    measure: object  # (bars, seeds) -> {figure: values}
    figures: dict  # figure: (format, what n counts, Widened)
    needs: object = lambda: True


def mnist_is_there():
    """Where `ness train` looks, started in the root."""
    places = [os.environ.get("NESS_DATA"), root / "data", root.parent / "shared" / "data"]
    return any(place and (pathlib.Path(place) / "mnist").is_dir() for place in places)


def xor(bars, n):
    return {"solved": [sum(x < 1e-3 for x in losses(bars.seeds("xor.toml", n)))]}


def xor_at_fixed_b(bars, n):
    lines = bars.seeds("xor.toml", n, *learning.FIXED_B)
    return {"epochs": [line["epochs"] for line in lines], "loss": losses(lines)}


def regression(name):
    def measure(bars, n):
        # Over the samples that settle: so early in a training some do not.
        lines = bars.seeds(f"regression-{name}.toml", n, "training.epochs=300")
        return {"training MSE": [line["train"]["loss"] for line in lines]}

    return measure


def mnist(bars, n):
    found = []
    for seed in seeds_of(n):
        log = bars.scratch / f"short-mnist-{seed}.h5"
        done = bars.train(
            "mnist.toml",
            log,
            "task.train_limit=6000",
            "training.epochs=3",
            "evaluation.train=false",
            seed=seed,
        )
        found.append(done["test"]["accuracy"])
        log.unlink()
    return {"test accuracy": found}


def branches(bars, n):
    lines = [line for line in truth.branch_lines(bars, n, 6) if "compared" not in line]
    return {
        figure: [sum(line[key] for line in lines)]
        for figure, key in (
            ("on another branch", "wrong_branch"),
            ("not converged", "not_converged"),
            ("reported at rest that move", "moving_reported_at_rest"),
        )
    }


def on_the_bench(bars, n):
    file, shorter = "bench-emulated.toml", "training.epochs=150"
    runs = [bench.on_the_bench(bars, "ep-centred", seed, file, shorter) for seed in seeds_of(n)]
    return {
        "loss": [run[0] for run in runs],
        "relaxations": [run[1] for run in runs],
        "replayed bit for bit": [int(run[2]) for run in runs],
    }


def errors(estimator):
    def measure(bars, _):
        first = bars.lines(bars.tests / "ness-bar-errors", 200, estimator)[0]
        return {"stated / scatter": first["readings"]["ratio"]}

    return measure


def digits(bars, n):
    done = bars.run(
        python, commands / "truth.py", bars.ness, "--networks", n, "--seed", FIRST_SEED, "--json", check=False
    )
    return {"error": json.loads(done.stdout.splitlines()[-1])}


def ep(bars, _):
    for line in bars.lines(bars.tests / "ness-bar-ep"):
        if line["network"] == "reciprocal" and line["estimator"] == "centred":
            return {"slope of the error in beta": line["slope"]}
    raise ValueError("no line of reciprocal networks")


def drift(bars, _):
    line = bars.lines(bars.tests / "ness-bar-drift")[0]
    n = len(line["cosine"])
    return {"mean fall of the cosine": [sum(a - b for a, b in zip(line["cosine"], line["cancelling"])) / n]}


NONE = within(0, 0, "the bar: none")
rows = [
    Short(
        "xor",
        "XOR, quantum dots 2-2-1, all parameters, 20 seeds",
        20,
        20,
        xor,
        {
            "solved": (
                ".0f",
                "set of 20 seeds",
                plus(1, "a seed at the edge of another branch rounds otherwise"),
            )
        },
    ),
    Short(
        "xor-fixed-b",
        "XOR, a, gamma, leak levels trained at fixed b",
        20,
        6,
        xor_at_fixed_b,
        {"epochs": (",.0f", "seeds", times(1.2)), "loss": (".2e", "seeds", within(0, 1e-3, "the bar"))},
    ),
    Short(
        "regression-quantum-dot",
        "regression, quantum dots, 300 epochs",
        10,
        2,
        regression("quantum-dot"),
        {"training MSE": (".2e", "seeds", times(1.5))},
    ),
    Short(
        "regression-enzyme",
        "regression, enzymes, 300 epochs",
        10,
        2,
        regression("enzyme"),
        {"training MSE": (".2e", "seeds", times(1.5))},
    ),
    Short(
        "mnist",
        "MNIST, 784-30-10, 6,000 images, 3 epochs",
        10,
        1,
        mnist,
        {
            "test accuracy": (
                ".4f",
                "seeds",
                plus(0.01, "2.7 standard errors of 10,000 images"),
            )
        },
        mnist_is_there,
    ),
    Short(
        "branches",
        "100 networks, b of deviation 6, every way to relax",
        100,
        100,
        branches,
        {
            name: (".0f", "set of 100 networks", NONE)
            for name in ("on another branch", "not converged", "reported at rest that move")
        },
    ),
    Short(
        "bench",
        "XOR on the emulated bench, centred equilibrium propagation, 150 epochs",
        20,
        1,
        on_the_bench,
        {
            "relaxations": (",.0f", "seeds", times(1.05)),
            "loss": (".2e", "seeds", times(1.5)),
            "replayed bit for bit": (".0f", "seeds", within(1, 1, "the bar: all")),
        },
    ),
    *(
        Short(
            f"errors-{estimator}",
            f"{estimator}: stated error of a gradient over the scatter of 200 repeats",
            3,
            3,
            errors(estimator),
            {"stated / scatter": (".2f", "points", plus(0.05, "single repeats that round otherwise"))},
        )
        for estimator in ("node-probing", "equilibrium-propagation-one-sided")
    ),
    Short(
        "truth",
        "random networks against 40 digits",
        20,
        8,
        digits,
        {"error": (".1e", "networks", within(0, 1e-10, "the bar"))},
    ),
    Short(
        "ep",
        "reciprocal 3-6-2 networks, centred equilibrium propagation",
        20,
        20,
        ep,
        {"slope of the error in beta": (".2f", "networks", plus(0.1, "rounding at the smallest beta"))},
    ),
    Short(
        "drift",
        "0.1 kT an epoch, centred equilibrium propagation, cancelling order",
        60,
        60,
        drift,
        {"mean fall of the cosine": (".4f", "mean of 60 networks", plus(0.002, "rounding, many times over"))},
    ),
]


def record(bars):
    """The rows with the ranges that are allowed, as the record holds them."""
    found = []
    for row in rows:
        if not row.needs():
            raise RuntimeError(f"{row.key}: its data are not there")
        measured = row.measure(bars, row.recorded)
        for name, (form, of, widened) in row.figures.items():
            figure = spread(name, measured[name], form, of=of)
            found.append((row, figure, widened.low(figure.min), widened.high(figure.max), widened.rule))
            print(
                f"recorded | {row.what} | {figure.text()} | {found[-1][2]:.4g} to {found[-1][3]:.4g}",
                flush=True,
            )
    return found


def judge(recorded, measured):
    """What is wrong with measured values {KEY: {figure: values}} by the recorded rows, a line each."""
    faults = []
    allowed = {(row["id"].removeprefix("short/"), row["figure"]["name"]): row for row in recorded}
    for key, figures in measured.items():
        for name, values in figures.items():
            row = allowed.get((key, name))
            if row is None:
                faults.append(f"{key}: {name} is not in the record: tools/test --evidence short")
                continue
            if not values:
                faults.append(f"{key}: {name}: nothing was measured")
            for i, value in enumerate(values):
                # Not a number is outside as well.
                if value is None or not row["low"] <= value <= row["high"] or not math.isfinite(value):
                    faults.append(
                        f"{key}: {name} of case {i} is {value}: expected {row['low']:.6g} to "
                        f"{row['high']:.6g} ({row['rule']}; recorded at {row['figure']['median']:.6g})"
                    )
    return faults
