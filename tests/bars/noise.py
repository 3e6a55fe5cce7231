"""Rows of estimators on noisy, drifting and varying devices (simulated)."""
import json
import statistics

from figures import FIRST_SEED, count, experiments, spread


def compared(bars, experiment, *arguments):
    """The tables of `ness compare`."""
    command = [bars.ness, "compare", experiments / experiment, "--json", "--quiet", "--seed", FIRST_SEED]
    return json.loads(bars.run(*command, *arguments).stdout)["tables"]


def figures_of(row):
    """Of the trials of a contestant: how many solved, and after how many relaxations."""
    solved = [trial["relaxations"] for trial in row["trials"] if trial["solved"]]
    figures = [count("solved", row["solved"], row["seeds"])]
    if solved:
        figures.append(spread("relaxations", solved, ",.0f", of="solved seeds"))
    figures.append(spread("loss", [trial["loss"] for trial in row["trials"]], ".1e"))
    return figures


def report_table(bars, group, what, table, needed):
    for row in table["rows"]:
        if "refused" in row:
            bars.report(
                group, row["label"], f"{what}: {row['label']}", "", [], False, f"refused: {row['refused']}"
            )
            continue
        least = needed.get(row["label"])
        bars.report(
            group,
            row["label"],
            f"{what}: {row['label']}",
            f">= {least} of {row['seeds']}" if least else "beside it",
            figures_of(row),
            least is None or row["solved"] >= least,
        )


def noise(bars):
    needed = {"node-probing": 55, "conductance-by-voltage": 55, "equilibrium-propagation-centred": 50}
    report_table(
        bars, "noise", "XOR, read noise 1e-2 kT", compared(bars, "xor-noisy.toml", "--seeds", 60)[0], needed
    )


def noise_regression(bars):
    table = compared(bars, "regression-noisy.toml", "--seeds", 4)[0]
    report_table(bars, "noise-regression", "regression, read noise 1e-3 kT", table, {})


def drift(bars):
    for line in bars.lines(bars.tests / "ness-bar-drift"):
        # Of each network: how far the cosine to the true gradient falls.
        fall = {
            order: [still - found for still, found in zip(line["cosine"], line[order])]
            for order in ("cancelling", "with_drift")
        }
        mean = statistics.mean(fall["cancelling"])
        bars.report(
            "drift",
            line["estimator"],
            f"0.1 kT an epoch, {line['estimator']}, XOR networks: fall of the cosine to the true gradient",
            "< 0.02 in the mean in the cancelling order",
            [
                spread("mean in the cancelling order", [mean], ".4f", of=f"mean of {len(line['cosine'])}"),
                spread("of a network in the cancelling order", fall["cancelling"], ".4f", of="networks"),
                spread("of a network in the plain order", fall["with_drift"], ".4f", of="networks"),
                spread("cosine without drift", line["cosine"], ".4f", of="networks"),
            ],
            mean < 0.02,
        )


def baseline(bars):
    for vary, age in (
        ("device.variation=0,0.03,0.1,0.3", 0),
        ("device.parameter_drift=0,1e-3,3e-3,1e-2", 10000),
    ):
        for table in compared(
            bars,
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
            figures = []
            for name, row in zip(("twin deployed", "tuned in situ", "from scratch"), table["rows"]):
                solved = [trial["relaxations"] for trial in row["trials"] if trial["solved"]]
                figures.append(count(name, row["solved"], row["seeds"]))
                if solved and name != "twin deployed":
                    figures.append(spread(f"relaxations, {name}", solved, ",.0f", of="solved seeds"))
            changed = vary.split("=")[0]
            bars.report(
                "baseline",
                f"{changed.split('.')[1]}-{table['value']}",
                f"XOR, read noise 1e-2 kT, {changed} = {table['value']}"
                + (f", after {age:,} relaxations of use" if age else ""),
                "the table",
                figures,
                True,
            )
