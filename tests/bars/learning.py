"""Rows of learning in simulation: XOR, the regression, MNIST."""
import json
import math
import os
import statistics
import time

from figures import count, losses, seeds_of, sets, spread

COOPERATIVE = ("parameters.b.value=0", "parameters.b.trainable=false")
FIXED_B = (
    *COOPERATIVE,
    "parameters.b.layer-2.value=-1",
    "parameters.g.trainable=false",
    "training.epochs=2000",
)


def xor(bars):
    def row(key, what, bar, least, *settings):
        lines = bars.seeds("xor.toml", 100, *settings)
        loss = losses(lines)
        solved = sum(x < 1e-3 for x in loss)
        figures = [
            count("solved", solved, 100),
            spread("loss", loss, ".2g"),
            spread("epochs", [line["epochs"] for line in lines], ",.0f"),
        ]
        bars.report("xor", key, what, bar, figures, solved >= least)

    row("free", "XOR, quantum dots 2-2-1, all parameters: loss < 1e-3, cold starts", ">= 95", 95)
    lines = bars.seeds("xor.toml", 100, *COOPERATIVE, "training.target_loss=0", "training.epochs=2000")
    loss, bound = losses(lines), lines[0]["isotonic_bound"]
    solved = sum(x < 1e-3 for x in loss)
    bars.report(
        "xor",
        "cooperative",
        f"every edge cooperative (b = 0); isotonic bound {bound:.6f}",
        "0 solved, none below the bound, median within 2 %",
        [count("solved", solved, 100), spread("loss", loss, ".6f")],
        solved == 0 and min(loss) >= bound * (1 - 1e-12) and statistics.median(loss) <= 1.02 * bound,
    )
    row(
        "one-ndc-edge",
        "one hidden-to-output edge with NDC",
        ">= 75",
        75,
        *COOPERATIVE,
        "parameters.b.edge-4.normal=[0,1]",
        "parameters.b.edge-4.trainable=true",
        "training.epochs=2000",
    )
    row(
        "fixed-b",
        "a, gamma, leak levels trained at fixed b = 0 and -1",
        ">= 95",
        95,
        *FIXED_B,
    )


def regression(bars):
    for name, n, bar in (("quantum-dot", 20, 3e-4), ("enzyme", 9, 3e-3)):
        started = time.time()
        lines = bars.seeds(f"regression-{name}.toml", n)
        seconds = (time.time() - started) / len(lines)
        test = losses(lines, "test")
        failed = [sum(line[s]["failures"] for s in ("train", "test")) for line in lines]
        bars.report(
            "regression",
            name,
            f"exp(-x²/10) sin(5x), {name}s 1-32-2-1, test MSE",
            f"median <= {bar:g}, no failure",
            [spread("test MSE", test, ".1e"), count("seeds without a failure", failed.count(0), len(lines))],
            statistics.median(test) <= bar and not any(failed),
            f"{seconds:.0f} s a seed",
        )
    lines = bars.seeds(
        "regression-quantum-dot.toml",
        9,
        *COOPERATIVE,
        "parameters.a.layer-1.uniform=[-12,12]",
        "training.epochs=3000",
    )
    train, bound = losses(lines), lines[0]["isotonic_bound"]
    bars.report(
        "regression",
        "cooperative",
        f"the same, cooperative (b = 0): training MSE; isotonic bound {bound:.4f}",
        "none below the bound",
        [spread("training MSE", train, ".4f")],
        min(train) >= bound * (1 - 1e-12),
    )


def mnist(bars):
    def train(key, what, experiment, n, bar, *settings, limit=math.inf):
        accuracy, failures, images, seconds, megabytes = [], [], 0, [], []
        for seed in seeds_of(n):
            log = bars.scratch / f"mnist-{key}-{seed}.h5"
            started = time.time()
            bars.train(experiment, log, *settings, seed=seed)
            seconds.append(time.time() - started)
            found = json.loads(bars.run(bars.ness, "evaluate", log, "--json").stdout)["test"]
            accuracy.append(found["accuracy"])
            failures.append(found["failures"])
            images += found["samples"]
            megabytes.append(os.path.getsize(log) / 1e6)
            log.unlink()
        words = "beside it" if bar is None else f"median >= {bar}, 0 images fail"
        if limit < math.inf:
            words += f", median <= {limit} s"
        bars.report(
            "mnist",
            key,
            f"{what}; 60,000/10,000 images, every relaxation logged",
            words,
            [
                spread("test accuracy", accuracy, ".4f"),
                spread("test images that fail", failures, ".0f"),
                spread("time", seconds, ".0f", "s"),
                spread("log", megabytes, ",.0f", "MB"),
            ],
            bar is None
            or (
                statistics.median(accuracy) >= bar
                and statistics.median(seconds) <= limit
                and not any(failures)
            ),
        )

    shifts = ("task.shifts=true", 'training.start="rest"')
    train("784-30-10", "784-30-10, 20 epochs (the paper: 0.883 on 300)", "mnist.toml", 9, 0.968, limit=60)
    train("shifts", "784-30-10, shifts, 40 epochs", "mnist.toml", 3, 0.972, *shifts, "training.epochs=40")
    train(
        "784-128-10",
        "784-128-10, shifts, 25 epochs",
        "mnist.toml",
        2,
        0.982,
        *shifts,
        "training.epochs=25",
        "network.layers=[784,128,10]",
    )
    train("linear", "784-30-10, linear", "mnist-linear.toml", 3, None)
    train(
        "cooperative",
        "784-30-10, cooperative (b = 0), 12 epochs",
        "mnist.toml",
        3,
        None,
        *COOPERATIVE,
        "training.epochs=12",
    )


def mnist_in_situ(bars):
    log = bars.scratch / "mnist-in-situ.h5"
    started = time.time()
    done = bars.train("mnist-in-situ.toml", log, "evaluation.train=false")
    seconds = time.time() - started
    quiet = sets(("device.read_noise=0", "task.train_limit=100"))
    clean = json.loads(bars.run(bars.ness, "evaluate", log, *quiet, "--json").stdout)["test"]
    log.unlink()
    each, accuracy = done["relaxations"] / (60000 * done["epochs"]), done["test"]["accuracy"]
    bars.report(
        "mnist-in-situ",
        "784-30-10",
        f"784-30-10 in situ, centred EP, read noise 1e-2 kT, {done['epochs']} epochs",
        "test accuracy >= 0.95 with <= 10 relaxations a sample",
        [
            spread("test accuracy, read with noise", [accuracy], ".4f"),
            spread("test accuracy, read without", [clean["accuracy"]], ".4f"),
            spread("relaxations a sample", [each], ".2f"),
            spread("time", [seconds], ".0f", "s"),
        ],
        accuracy >= 0.95 and each <= 10,
    )
