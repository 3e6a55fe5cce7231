"""Rows of emulated instruments: training, settling, checking, safety, links, the command line."""
import concurrent.futures
import json
import os
import re
import subprocess
import time

from figures import (
    commands,
    count,
    experiments,
    largest,
    of_all,
    python,
    root,
    seeds_of,
    spread,
)


def on_the_bench(bars, estimator, seed, bench="bench-emulated.toml", *settings):
    """XOR through emulated instruments in virtual time: its result, whether it replays, seconds."""
    log = bars.scratch / f"bench-{estimator}-{seed}.h5"
    started = time.time()
    done = bars.train(
        "xor-bench.toml",
        log,
        f"estimator.kind={estimator}",
        *settings,
        seed=seed,
        options=("--device", "emulated", "--bench", experiments / bench),
    )
    seconds = time.time() - started
    replayed = bars.run(bars.ness, "replay", log, "--json", check=False).returncode == 0
    log.unlink()
    return done["train"]["loss"], done["relaxations"], replayed, seconds


def report_runs(bars, group, estimator, n, least, bench, *settings):
    # As many at once as there are cores.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(lambda seed: on_the_bench(bars, estimator, seed, bench, *settings), seeds_of(n)))
    solved, replayed = sum(loss < 1e-3 for loss, *_ in runs), sum(run[2] for run in runs)
    bars.report(
        group,
        estimator,
        f"XOR on {bench}, {estimator}: loss < 1e-3",
        f">= {least} solved, all replayed bit for bit",
        [
            count("solved", solved, n),
            spread("relaxations", [run[1] for run in runs], ",.0f"),
            count("replayed bit for bit", replayed, n),
            spread("loss", [run[0] for run in runs], ".1e"),
            spread("time", [run[3] for run in runs], ".0f", "s"),
        ],
        solved >= least and replayed == n,
    )


def bench(bars):
    report_runs(bars, "bench", "ep-centred", 20, 18, "bench-emulated.toml")
    report_runs(bars, "bench", "fd-central", 20, 18, "bench-emulated.toml", "estimator.step=0.05")


def bench_estimators(bars):
    # Through sources and meters: what each estimator needs of the terminals is wired.
    for estimator, file, settings in (
        ("probing", "bench-emulated.toml", ["estimator.probe=0.1"]),
        ("conductance", "bench-emulated-source-meters.toml", ["estimator.probe=0.1"]),
        ("ep-centred", "bench-emulated.toml", []),
        ("spsa", "bench-emulated.toml", ["estimator.c=0.05", "optimizer.rate=0.02"]),
    ):
        report_runs(bars, "bench-estimators", estimator, 10, 9, file, *settings)


def same_loop(bars):
    found = bars.lines(python, commands / "same_loop_test.py", bars.ness, experiments, "--whole")
    for f in found:
        if f["figure"] == "gradients":
            bars.report(
                "same-loop",
                f"gradients-{f['estimator']}",
                f"first 10 gradients, simulation against quantised instruments, {f['estimator']}; in units "
                f"of the instruments' resolution, propagated by {f['runs']} runs of the simulation",
                "rms of 0.6 to 1.5 sigma, none beyond 5",
                [
                    spread("rms difference", [f["rms_z"]], ".2f", "sigma", of="runs"),
                    largest("difference", f["largest_z"], 150, "gradient entries", ".1f", "sigma"),
                ],
                0.6 < f["rms_z"] < 1.5 and f["largest_z"] < 5,
            )
        elif f["figure"] == "parameters":
            bars.report(
                "same-loop",
                f"parameters-{f['estimator']}",
                f"parameters after {f['steps']} SGD steps, {f['estimator']}, ideal instruments",
                "agree to 1e-6",
                [
                    largest("difference", f["largest_difference"], 15, "parameters"),
                    largest("movement", f["moved"], 15, "parameters", ".2f"),
                ],
                f["largest_difference"] < 1e-6,
            )
    solved = [f for f in found if f["figure"] == "solved"]
    both = sum(f["simulation"] < 1e-3 and f["emulated"] < 1e-3 for f in solved)
    bars.report(
        "same-loop",
        "solved",
        "the same file solves XOR on both devices",
        "loss < 1e-3 on both",
        [
            count("solved", both, len(solved)),
            spread("loss in simulation", [f["simulation"] for f in solved], ".1e"),
            spread("loss on instruments", [f["emulated"] for f in solved], ".1e"),
        ],
        both == len(solved),
    )


def settling(bars):
    f = json.loads(
        bars.run(
            bars.tests / "ness-bar-settling",
            experiments / "xor-bench.toml",
            experiments / "bench-emulated.toml",
            1000,
        ).stdout
    )
    n = f["relaxations"]
    bars.report(
        "settling",
        "within-bound",
        "relaxations on the emulated bench, noise, slowest time constant 5 to 20 scans",
        "residual at the verdict within the stated bound in >= 99 %",
        [
            count("within the bound", f["within"], n, "relaxations"),
            count("not settled", f["not_settled"], n, "relaxations"),
            spread("residual / bound", f["share_of_bound"], ".2f", of="relaxations"),
            spread("scans", f["scans"], ".0f", of="relaxations"),
        ],
        f["within"] >= 0.99 * n,
    )


def safe(bars):
    for script, what in (
        ("safe_test.py", "every way out, asked of an emulator in another process: outputs safe, limits kept"),
        ("clients_test.py", "third-party clients"),
        (
            "bench_test.py",
            "wrong benches refused before anything is switched on; trained, continued, behind a Prologix",
        ),
    ):
        argument = experiments / "bench-resistor.toml" if script == "clients_test.py" else experiments
        report_script(bars, "safe", script, what, "all checks pass", bars.ness, argument)


def report_script(bars, group, script, what, bar, *arguments):
    passed, said = bars.script(commands / script, *arguments)
    key = script.removesuffix(".py").replace("_", "-")
    bars.report(
        group, key, what, bar, [of_all("scripts pass", int(passed), 1, "scripts")], passed, said[:200]
    )


def check(bars):
    passed, said = bars.script(commands / "check_test.py", bars.ness, experiments, "--every", "--json")
    if not passed:
        bars.report(
            "check", "every", "ness check", "no false alarm, every mistake named", [], False, said[:200]
        )
        return
    f = json.loads(said)
    for key, what, bar, figures in (
        (
            "right",
            "`ness check` of right benches, whatever errors the instruments have within their specifications",
            "no false alarm",
            [count("pass", f["right"], f["right"])],
        ),
        (
            "exchanges",
            "exchanges of two cables of a kind",
            "all named",
            [of_all("named", f["exchanges"], f["exchanges"], "exchanges")],
        ),
        (
            "leads",
            "open or shorted leads",
            "all named",
            [of_all("named", f["leads"], f["leads"], "leads")],
        ),
        (
            "cost",
            "its cost",
            "beside it",
            [
                spread("relaxations", f["relaxations"], ",.0f"),
                spread("time of the bench", [s / 60 for s in f["seconds"]], ".1f", "min"),
            ],
        ),
    ):
        # Its assertions are the bar: it ends at the first false alarm or mistake that is not named.
        bars.report("check", key, what, bar, figures, True)


def wire(bars):
    # Every seed draws other gains and offsets within the one-year accuracy, which nothing may exceed.
    runs = [
        json.loads(
            bars.run(
                python,
                commands / "wire_physics_test.py",
                bars.ness,
                commands / "wire",
                "--seed",
                seed,
                "--json",
            ).stdout
        )
        for seed in seeds_of(5)
    ]
    worst = [max(run["shares"].items(), key=lambda pair: pair[1]) for run in runs]
    decades = spread("decades of a diode", [run["decades"] for run in runs], ".1f")
    share = spread("the worst law's share", [share for _, share in worst], ".2f")
    bars.report(
        "wire",
        "laws",
        f"{len(runs[0]['shares'])} laws through sockets and pseudo-terminals (Ohm's, a diode, a quantum dot, "
        "compliance, dividers, preamplifiers, ..), of the instruments' one-year accuracy",
        "within it; a diode over >= 4 decades",
        [share, decades],
        share.max <= 1 and decades.min >= 4,
    )


def overlap(bars):
    models = [
        "keithley-2400",
        "agilent-34401a",
        "keysight-34461a",
        "keysight-34970a",
        "keysight-daq970a",
        "keithley-2400",
        "agilent-34401a",
        "keysight-34461a",
    ]
    (bars.scratch / "star.json").write_text(
        json.dumps(
            {
                "nodes": [{"clamped": True}] + [{"g": 1}] * len(models),
                "edges": [
                    {"source": 0, "target": k, "law": "linear", "G": 1} for k in range(1, len(models) + 1)
                ],
                "outputs": [1],
            }
        )
    )
    eight = bars.scratch / "eight.toml"
    eight.write_text(
        "".join(
            f'[instruments.i{k}]\nmodel = "{model}"\n'
            + ('address = "ASRL/dev/ttyUSB0::INSTR"\n' if k == 0 else "")
            + f'[wiring.w{k}]\ninstrument = "i{k}"\nnode = {k + 1}\n'
            + ("channel = 101\n" if "970a" in model else "")
            for k, model in enumerate(models)
        )
        + '[emulation]\nnetwork = "star.json"\n'
    )
    with bars.emulated(eight) as resources:
        addresses = [f"{model}={resources[f'i{k}']}" for k, model in enumerate(models)]
        runs = [
            json.loads(bars.run(bars.tests / "ness-bar-links", "overlap", 50, *addresses).stdout)
            for _ in range(3)
        ]
    ratio = spread("ratio", [f["ratio"] for f in runs], ".2f", of="repeats")
    bars.report(
        "overlap",
        "instruments",
        f"{len(models)} instruments of 10 ms in another process, one reading each (sockets and a "
        f"pseudo-terminal, real pace), {runs[0]['rounds']} rounds: together over the slowest alone",
        "< 1.3",
        [
            ratio,
            spread("together", [f["together_ms"] for f in runs], ".1f", "ms", of="repeats"),
            spread("one after another", [f["sum_ms"] for f in runs], ".0f", "ms", of="repeats"),
        ],
        ratio.median < 1.3,
    )

    # A relaxation takes what its instruments take, which virtual time tells, and what software adds: the
    # client's work, messages, waking up. On sockets, since a real serial line's pace is no software.
    base = re.sub(
        r"^(address|baud) = .*\n", "", (experiments / "bench-emulated.toml").read_text(), flags=re.M
    ).replace(
        'experiment = "xor-bench.toml"', f'experiment = "{experiments / "xor-bench.toml"}"\nlinks = false'
    )
    served, real = bars.scratch / "served.toml", bars.scratch / "real.toml"
    served.write_text(base)
    with bars.emulated(served) as resources:
        text = base
        for name, resource in resources.items():
            text = text.replace(f"[instruments.{name}]\n", f'[instruments.{name}]\naddress = "{resource}"\n')
        real.write_text(text)
        program, experiment = bars.tests / "ness-bar-links", experiments / "xor-bench.toml"
        runs = [
            json.loads(bars.run(program, "relaxations", 40, experiment, real, served).stdout)
            for _ in range(3)
        ]
    beyond = spread("beyond", [100 * f["beyond_instruments"] for f in runs], ".2f", "%", of="repeats")
    client = spread(
        "the client's processor time", [100 * f["client_processor"] for f in runs], ".2f", "%", of="repeats"
    )
    bars.report(
        "overlap",
        "software",
        "software's share of a relaxation at 1 NPLC (3 nodes, 4 readings each), "
        f"{runs[0]['n']} relaxations at real pace",
        "<= 1 % beyond what it takes in virtual time",
        [
            beyond,
            client,
            spread("relaxation", [f["relaxation_ms"] for f in runs], ".0f", "ms", of="repeats"),
        ],
        beyond.median <= 1 and client.median <= 1,
    )


def raw_speed(bars):
    links = bars.tests / "ness-bar-links"
    pyvisa = """
import sys, time, pyvisa
link = pyvisa.ResourceManager("@py").open_resource(
    f"TCPIP0::127.0.0.1::{sys.argv[1]}::SOCKET", read_termination="\\n", write_termination="\\n"
)
rates = []
for _ in range(5):
    begin = time.perf_counter()
    for _ in range(1000):
        assert link.query("*IDN?") == "*IDN?"
    rates.append(1000 / (time.perf_counter() - begin))
print(sorted(rates)[2])
"""
    # Where the scheduler puts client and server makes a factor of ten between 10,000 and 150,000, for
    # either of a pair: both are told where to be.
    for cores, key, what in (("0", "one-core", "on one core"), ("1", "two-cores", "on two cores")):
        runs, theirs = [], []
        for _ in range(3):
            server = subprocess.Popen(
                ["taskset", "-c", "0", str(links), "echo"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                port = server.stdout.readline().strip()
                runs += bars.lines("taskset", "-c", cores, links, "speed", port, 40, 2000)
                theirs.append(float(bars.run("taskset", "-c", cores, python, "-c", pyvisa, port).stdout))
            finally:
                server.stdin.close()
                server.wait()
        ratio = spread("ratio", [f["ratio"] for f in runs], ".2f", of="repeats")
        bars.report(
            "raw-speed",
            key,
            f"queries of an echo server in another process, {what}; {runs[0]['rounds']} interleaved pairs of "
            f"{runs[0]['queries']}: session over a bare socket's ping-pong",
            ">= 0.8",
            [
                ratio,
                spread("session", [f["session_per_s"] for f in runs], ",.0f", "/s", of="repeats"),
                spread("bare socket", [f["socket_per_s"] for f in runs], ",.0f", "/s", of="repeats"),
                spread("PyVISA-py", theirs, ",.0f", "/s", of="repeats"),
            ],
            ratio.median >= 0.8,
        )


def bad_input(bars):
    report_script(
        bars,
        "bad-input",
        "cli_test.py",
        "tests/tools/commands/cli_test.py",
        "one clear error each, non-zero exit, no half file that looks whole",
        bars.ness,
        root,
    )
