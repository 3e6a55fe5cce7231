"""Rows of large networks, fast paths, vector targets and the rate of the log."""
import math
import re
import statistics

from figures import count, experiments, largest, of_all, spread


def fast_paths(bars):
    # What states and gradients of each precision promise (sim/include/ness/sim/simulation.hpp), on
    # networks of conductances around 1.
    promised = {
        "batches, single": (2e-5, 3e-5),
        "batches, double": (1e-10, 1e-6),
        "direct": (1e-10, 1e-10),
        "iterative": (1e-8, 1e-8),
        "iterative, large": (1e-8, 1e-8),
    }
    for line in bars.lines(bars.tests / "ness-bar-fast-paths", 10000):
        state, gradient = promised[line["path"]]
        n = line["relaxations"]
        bars.report(
            "fast-paths",
            f"{line['path']} {line['target']}",
            f"{line['path']} on {line['target']}, {line['networks']:,} random networks",
            f"states to {state:.0e} kT, gradients to {gradient:.0e}, no branch changed",
            [
                largest("state's difference", line["state"], n, "relaxations", ".1e", "kT"),
                largest("gradient's difference", line["gradient"], n, "relaxations", ".1e"),
                count("on another branch", line["other_branch"], n, "relaxations"),
                count("with another verdict", line["verdicts"], n, "relaxations"),
                count("served by this path", line["served"], n, "relaxations"),
            ],
            line["state"] <= state
            and line["gradient"] <= gradient
            and line["other_branch"] == 0
            and line["verdicts"] == 0,
        )


def targets_of(bars):
    """The vector targets of this processor, the one that is used first."""
    refused = bars.run(
        bars.ness,
        "train",
        experiments / "xor.toml",
        "--log",
        bars.scratch / "none.h5",
        "--set",
        "solver.vector_target=none",
        check=False,
    ).stderr
    return re.findall(r"[A-Z][A-Z0-9_]+", refused.rsplit("have", 1)[-1])


def targets(bars):
    for target in targets_of(bars):
        log = bars.scratch / f"target-{target}.h5"
        done = bars.train(
            "mnist.toml",
            log,
            f"solver.vector_target={target}",
            "training.epochs=2",
            "task.train_limit=6000",
            "evaluation.train=false",
        )
        for threads in (1, 2):
            replay = bars.run(bars.ness, "replay", log, "--threads", threads, "--json", check=False)
            equal = replay.returncode == 0
            bars.report(
                "targets",
                f"{target}-{threads}",
                f"MNIST, 6,000 images, {target}, replayed with {threads} thread{'s' if threads > 1 else ''}",
                "bit-equal",
                [
                    of_all("runs bit-equal", int(equal), 1, "runs"),
                    spread("test accuracy", [done["test"]["accuracy"]], ".4f", of="runs"),
                ],
                equal,
                "" if equal else replay.stderr.strip()[:160],
            )
        log.unlink()


def lattices(bars):
    def lines(*options):
        return bars.lines(bars.tests / "ness-bar-lattices", *options)

    def exponent(nodes, seconds):
        # Slope of the logarithms.
        n, t = [math.log(x) for x in nodes], [math.log(x) for x in seconds]
        mean_n, mean_t = statistics.mean(n), statistics.mean(t)
        return sum((x - mean_n) * (y - mean_t) for x, y in zip(n, t)) / sum((x - mean_n) ** 2 for x in n)

    def exponents(runs, seconds_of):
        # The judged one is of the least of the runs at each size, which other processes disturb least.
        nodes = [line["nodes"] for line in runs[0]]
        seconds = [[seconds_of(line) for line in run] for run in runs]
        judged = exponent(nodes, [min(times) for times in zip(*seconds)])
        return judged, [exponent(nodes, run) for run in seconds], [run[-1] for run in seconds]

    factor = {}
    for algebra, bar in (("direct", "<= 1.6"), ("iterative", "lower than LU's")):
        runs = [lines("--only", "factor", "--algebra", algebra, "--from", 1e4, "--to", 1e6) for _ in range(3)]
        factor[algebra], each, last = exponents(runs, lambda line: line["factor_s"] + line["solve_s"])
        bars.report(
            "lattices",
            f"factor-{algebra}",
            f"two dimensions, 10^4 to 10^6 nodes, {algebra}: exponent of one factorisation and solution",
            bar,
            [
                spread("exponent of the least times", [factor[algebra]], ".3f", of="lattices"),
                spread("exponent", each, ".3f", of="repeats"),
                spread("10^6 nodes", last, ".3g", "s", of="repeats"),
            ],
            factor[algebra] <= 1.6 if algebra == "direct" else factor[algebra] < factor["direct"],
        )
        runs = [lines("--algebra", algebra, "--from", 1e3, "--to", 1e5) for _ in range(3)]
        judged, each, last = exponents(runs, lambda line: line["cold"]["seconds"])
        cold = runs[0][-1]
        bars.report(
            "lattices",
            f"relaxation-{algebra}",
            f"10^3 to 10^5 nodes from rest, {algebra}: exponent of the whole relaxation",
            "<= 1.6",
            [
                spread("exponent of the least times", [judged], ".3f", of="lattices"),
                spread("exponent", each, ".3f", of="repeats"),
            ],
            judged <= 1.6,
        )
        converged = sum(run[-1]["cold"]["verdict"] == "converged" for run in runs)
        bars.report(
            "lattices",
            f"cold-{algebra}",
            f"10^5 nodes from rest, {algebra}",
            "converged in < 30 s (least of three)",
            [
                count("converged", converged, len(runs), "repeats"),
                spread("time", last, ".1f", "s", of="repeats"),
                spread("memory", [cold["gigabytes"]], ".2g", "GB", of="repeats"),
            ],
            converged == len(runs) and min(last) < 30,
        )
    warm = lines("--only", "warm", "--from", 1e6, "--to", 1e6)[0]
    found = warm.get("warm")
    figures = [count("converged", int(found is not None and found["verdict"] == "converged"), 1, "lattices")]
    if found:
        figures += [
            spread("time", [found["seconds"]], ".1f", "s", of="lattices"),
            spread("residual", [found["residual"]], ".1g", of="lattices"),
            spread("memory", [warm["gigabytes"]], ".2g", "GB", of="lattices"),
        ]
    bars.report(
        "lattices",
        "warm",
        f"10^6 nodes from a neighbouring state, {warm['algebra']}",
        "converged",
        figures,
        figures[0].median == 1,
        "" if found else "no steady state to start from",
    )


def log_rate(bars):
    # A short log, which the bare write leaves to the page cache for the most part, and a whole training's.
    for epochs in (4, 20):
        runs = [bars.lines(bars.tests / "ness-bar-log-rate", bars.scratch, epochs) for _ in range(3)]
        for repeats in zip(*runs):
            # The other mode, which nobody gets without asking for it, is beside it.
            background = repeats[0]["mode"] == "background"
            ratio = spread("ratio", [f["ratio"] for f in repeats], ".2f", of="repeats")
            bars.report(
                "log-rate",
                f"{epochs}-{repeats[0]['mode']}",
                f"{repeats[0]['rows']:,} rows of a 784-30-10 network, written by the "
                f"{'log' if background else 'caller'}'s thread: rate over a bare write's, both synced",
                ">= 0.5" if background else "beside it",
                [
                    ratio,
                    spread(
                        "million rows a second", [f["rows_per_s"] / 1e6 for f in repeats], ".2f", of="repeats"
                    ),
                    spread(
                        "a row of the caller", [f["caller_us"] for f in repeats], ".2f", "us", of="repeats"
                    ),
                    spread(
                        "a row of the writer", [f["writer_us"] for f in repeats], ".2f", "us", of="repeats"
                    ),
                ],
                not background or ratio.median >= 0.5,
            )
