"""Rows of the simulation and of gradients against independent truth."""
import json
import math
import statistics

from figures import FIRST_SEED, commands, count, largest, of_all, python, spread


def truth(bars):
    done = bars.run(
        python,
        commands / "truth.py",
        bars.ness,
        "--networks",
        100,
        "--seed",
        FIRST_SEED,
        "--json",
        check=False,
    )
    worst = json.loads(done.stdout.splitlines()[-1])
    bars.report(
        "truth",
        "blocks",
        "states, currents, conductances, gradients of random networks against 40 digits, "
        "of each block's largest entry",
        "1e-10 at worst",
        [spread("error", worst, ".1e", of="networks")],
        done.returncode == 0,
    )


def solver(bars):
    lines = bars.lines(bars.tests / "ness-bar-solver", 100000, check=False)
    total = sum(line["relaxations"] for line in lines)

    def of(key):
        return count(key.replace("_", " "), sum(line[key] for line in lines), total, "relaxations")

    share = max(line["other_branch"] / line["relaxations"] for line in lines)
    figures = [
        of(key)
        for key in ("dishonest", "other_branch", "not_converged", "no_stable_state", "undecided_reference")
    ] + [largest("residual", max(line["largest_residual"] for line in lines), total, "relaxations")]
    bars.report(
        "solver",
        "random",
        "cold relaxations of random networks with NDC, against a fine-step integration",
        "0 dishonest, all converged, <= 0.5 % on another branch",
        figures,
        figures[0].median == 0 and figures[2].median == 0 and share <= 0.005,
    )


def branches(bars):
    for deviation in (6, 12):
        report_branches(bars, "branches", 10000, deviation)


def branch_lines(bars, networks, deviation):
    return bars.lines(
        bars.tests / "ness-bar-branches", networks, FIRST_SEED, "--deviation", deviation, check=False
    )


def report_branches(bars, group, networks, deviation):
    for line in branch_lines(bars, networks, deviation):
        key = f"{deviation}-{line['way']}"
        what = f"{networks:,} networks, b of deviation {deviation}, {line['way']}"
        if "compared" in line:
            bars.report(
                group,
                key,
                what + " against one sample at a time",
                "within 1e-6 (single precision: 1e-2)",
                [
                    count("not", line["wrong"], line["compared"], "gradients"),
                    largest("difference", line["largest_difference"], line["compared"], "gradients"),
                ],
                line["wrong"] == 0,
            )
            continue
        n = line["relaxations"]
        bars.report(
            group,
            key,
            what,
            "0 on another branch than CVODE and Radau where these agree, all converged, "
            "none reported at rest that moves",
            [
                count("on another branch", line["wrong_branch"], line["integrators_agree"], "relaxations"),
                count("not converged", line["not_converged"], n, "relaxations"),
                count("reported at rest that move", line["moving_reported_at_rest"], n, "relaxations"),
                count("flagged as near another branch", line["flagged"], n, "relaxations"),
            ],
            line["wrong_branch"] == 0 and line["not_converged"] == 0 and line["moving_reported_at_rest"] == 0,
        )


def extremes(bars):
    n = 5000
    done = bars.run(
        python,
        commands / "extremes.py",
        bars.ness,
        "--networks",
        n,
        "--seed",
        FIRST_SEED,
        check=False,
    )
    counts = json.loads(done.stdout.splitlines()[-1])
    bars.report(
        "extremes",
        "30-decades",
        "steady states where parameters span 30 decades, against 50 digits",
        ">= 99 % right, 0 wrong, 0 without an answer",
        [
            count(what.replace("_", " "), k, n, "networks")
            for what, k in {"right": 0, "wrong": 0, "null": 0, **counts}.items()
        ],
        done.returncode == 0,
    )


def ep(bars):
    for line in bars.lines(bars.tests / "ness-bar-ep"):
        kind, centred = line["network"], line["estimator"] == "centred"
        error = spread("error", [e[-1] for e in line["relative_error"]], ".1e", of="networks")
        figures, bar, met = [error], "bias measured", True
        if kind.startswith("reciprocal"):
            order = 2 if centred else 1
            slope = spread("slope of the error in beta", line["slope"], ".2f", of="networks")
            figures, bar, met = [slope, error], f"slope {order}", abs(slope.median - order) < 0.15
        elif kind.startswith("linear"):
            bar, met = "round-off", error.max < 1e-9
        else:
            figures.append(spread("cosine", [c[-1] for c in line["cosine"]], ".4f", of="networks"))
        bars.report(
            "ep",
            f"{kind}-{line['estimator']}",
            f"{kind} 3-6-2 networks, {line['estimator']}, beta {line['beta'][-1]}",
            bar,
            figures,
            met,
        )


def corrected(bars):
    for line in bars.lines(bars.tests / "ness-bar-corrected", 100):
        errors = {
            rounds: spread(f"error by {rounds} rounds", values, ".1e", of="networks")
            for rounds, values in zip(line["rounds"], line["corrected"])
        }
        plain = spread("of centred EP", line["plain"], ".2f", of="networks")
        layers = "-".join(map(str, line["layers"]))
        bars.report(
            "corrected",
            f"{layers}-{line['level']:g}",
            f"quantum dots {layers} with NDC where centred EP errs by >= 0.1 "
            f"({line['networks']} of {line['drawn']} drawn), levels within {line['level']:g} kT, beta 1e-3",
            "median error by 3 rounds <= 1e-2",
            [
                errors.pop(3),
                *errors.values(),
                plain,
                spread("asymmetry", line["asymmetry"], ".3f", of="networks"),
                count("left out (rounds do not contract)", line["left_out"], line["networks"], "networks"),
            ],
            statistics.median(line["corrected"][line["rounds"].index(3)]) <= 1e-2
            and plain.median >= 0.1
            and line["networks"] >= 100,
        )


def gradients(bars):
    exact = {
        "finite-differences-forward": 1,
        "finite-differences-central": 2,
        "equilibrium-propagation-corrected": None,
        "node-probing": 2,
        "conductance-by-voltage": 2,
        "walsh": 2,
    }
    on_reciprocal = {
        "equilibrium-propagation-one-sided": 1,
        "equilibrium-propagation-centred": 2,
        "equilibrium-propagation-richardson": 4,
    }
    for line in bars.lines(bars.tests / "ness-bar-gradients"):
        what, kind = f"{line['network']}: {line['estimator']}", line["network"].split()[0]
        key = f"{kind}-{line['estimator']}"
        if "refused" in line:
            bars.report("gradients", key, what, "", [], False, f"refused: {line['refused']}")
            continue
        errors, tracked = line["relative_error"], line["estimator"].endswith("tracked")
        order = exact.get(line["estimator"])
        if kind == "reciprocal" and order is None:
            order = on_reciprocal.get(line["estimator"])
        figures = [
            spread(f"error at size {line['size'][-1]:g}", line["errors"], ".1e", of="networks"),
            spread("angle", line["angle"], ".1e", of="networks"),
            spread("asymmetry", line["asymmetry"], ".3f", of="networks"),
            spread("relaxations a sample", [line["counted"]], "g", of="networks"),
        ]
        met = tracked or line["cost"] == line["counted"]
        bar = "cost as stated"
        if order is not None:
            bar += f", error of order {order}"
            # On strongly curved networks the largest sizes are beyond the leading order: the last two tell.
            last = (
                math.log(errors[2] / errors[3]) / math.log(line["size"][2] / line["size"][3])
                if errors[3] > 1e-11
                else order
            )
            figures.append(spread("order", [last], ".2f", of="median error"))
            met = met and abs(last - order) < 0.2
        elif line["estimator"].startswith("equilibrium") and kind != "reciprocal":
            bar += ", bias measured"
        bars.report("gradients", key, what, bar, figures, met)


def errors(bars):
    repeats = 2000
    good, known = set(), set()
    for line in bars.lines(bars.tests / "ness-bar-errors", repeats):
        estimator, mode = line["estimator"], line["mode"]
        known.add(estimator)
        figures, met = [], True
        for name in ("readings", "whole"):
            if line[name]["stated"]:
                ratios = line[name]["ratio"]
                figures.append(spread(f"stated / scatter, {name}", ratios, ".2f", of="points"))
                met = met and all(0.9 <= ratio <= 1.1 for ratio in ratios)
        stated = line["readings"]["stated"] and line["whole"]["stated"]
        # A mode that states nothing says why; the estimator counts by its first mode.
        met = met and (stated or "unstated" in line)
        if mode == "" and stated:
            good.add(estimator)
        if not met:
            good.discard(estimator)
        bars.report(
            "errors",
            f"{estimator} {mode}",
            f"{estimator}{', ' + mode if mode else ''}: stated error of a gradient over the scatter of "
            f"{repeats:,} repeats",
            "0.9 to 1.1 at three points, or not stated",
            figures,
            met,
            line.get("unstated", ""),
        )
    bars.report(
        "errors",
        "estimators",
        "estimators that state both errors, in every mode within 0.9 to 1.1",
        ">= 12 of 15",
        [of_all("estimators", len(good), len(known), "estimators")],
        len(good) >= 12,
    )
