"""Rows of the twin: calibration from logs."""
import statistics

from figures import FIRST_SEED, count, experiments, sets, spread

TRAINING = ("training.epochs=200",)
NOISE = (*TRAINING, "device.variation=0.05", "device.read_noise=1e-3")
EMULATED = ("training.epochs=60",)


def calibration(bars):
    for key, what, settings, options in (
        ("white", "2-2-1 in simulation, 5 % variation, read noise 1e-3 kT: white noise alone", NOISE, ()),
        ("slow-drift", "drift of 2e-5 kT per root relaxation", (*NOISE, "device.drift=2e-5"), ()),
        ("fast-drift", "drift of 1e-4 kT per root relaxation", (*NOISE, "device.drift=1e-4"), ()),
        ("flicker", "1/f noise of 1e-3 kT", (*NOISE, "device.flicker=1e-3"), ()),
        ("cross-talk", "cross-talk of 1 %", (*NOISE, "device.cross_talk=0.01"), ()),
        ("gate-gain", "gains of gates of 1 %", (*NOISE, "device.gate_gain=0.01"), ()),
        (
            "bench",
            "the emulated bench, all errors of its instruments; accuracies of meters and sources stated",
            EMULATED,
            ("--bench", experiments / "bench-emulated.toml"),
        ),
    ):
        calibrated(bars, key, what, settings, options)


def calibrated(bars, key, what, settings, options, seeds=100):
    lines = bars.lines(
        bars.tests / "ness-bar-calibrate",
        experiments / "xor-bench.toml",
        "--seeds",
        seeds,
        "--first",
        FIRST_SEED,
        "--bounds",  # a dense Cholesky factor each
        20,
        "--scratch",
        bars.scratch,
        *sets(settings),
        *options,
    )
    unknowns = [u for line in lines for u in line["unknowns"]]
    told = [u for u in unknowns if "covered" in u]
    withheld = len(unknowns) - len(told)
    covered = sum(u["covered"] for u in told)
    coverage = 100 * covered / max(1, len(told))
    # Of each run: unknowns of a run share its readings, so that runs are what is independent.
    of_runs = [
        100 * statistics.mean(u["covered"] for u in line["unknowns"] if "covered" in u)
        for line in lines
        if any("covered" in u for u in line["unknowns"])
    ]
    ratio = spread(
        "width / bound", [u["width"] / u["bound"] for u in told if "bound" in u], ".2f", of="unknowns"
    )
    kinds = {}
    for u in told:
        kinds.setdefault(u["name"].split("[")[0], []).append(u)
    bars.report(
        "calibration",
        key,
        f"{what}; runs of {statistics.median(line['rows'] for line in lines):.0f} rows",
        "95 % intervals cover in 93-97 % of all, withheld in <= 10 %, median width <= 1.5 of the bound",
        [
            spread("covered of all", [coverage], ".1f", "%", of=f"{len(told):,} unknowns"),
            spread("covered in a run", of_runs, ".0f", "%"),
            count("withheld", withheld, len(unknowns), "unknowns"),
            ratio,
            count("converged", sum(line["converged"] for line in lines), len(lines)),
        ]
        + [
            count(f"{kind} covered", sum(u["covered"] for u in of), len(of), "unknowns")
            for kind, of in kinds.items()
        ],
        93 <= coverage <= 97 and withheld <= 0.1 * len(unknowns) and ratio.median <= 1.5,
    )
