"""ness check on an emulated bench, from the command line: right benches pass, mistakes are named,
findings are written back.

Usage: check_test.py NESS EXPERIMENTS [--every] [--json]

--every: all exchanges and leads, more seeds of instruments; --json: what was gone through, last line."""
import itertools
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

ness, experiments = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
every = "--every" in sys.argv  # all exchanges, not some
counts = {"right": 0, "exchanges": 0, "leads": 0, "relaxations": [], "seconds": []}


def run(*words, expect=0):
    done = subprocess.run([ness, *map(str, words)], capture_output=True, text=True, timeout=600)
    if done.returncode != expect:
        raise SystemExit(
            f"FAILED: ness {' '.join(map(str, words))} ended with {done.returncode}, expected {expect}: "
            f"{done.stdout}{done.stderr}"
        )
    return done


def check(bench, *sets, expect=0, keep=True):
    words = ["check", bench, "--device", "emulated", "--json"] + (["--keep"] if keep else ["--write"])
    for assignment in sets:
        words += ["--set", assignment]
    return json.loads(run(*words, expect=expect).stdout)


with tempfile.TemporaryDirectory() as directory:
    scratch = pathlib.Path(directory)
    for name in ("xor-bench.toml", "bench-emulated.toml", "bench-emulated-source-meters.toml"):
        shutil.copy(experiments / name, scratch)
    bench, experiment = scratch / "bench-emulated.toml", scratch / "xor-bench.toml"
    text = bench.read_text()
    wires = re.findall(r"\[wiring\.([\w-]+)\]", text)
    kinds = [
        [w for w in wires if w.startswith("input")],
        [w for w in wires if w.startswith("read")],
        [w for w in wires if not w.startswith(("input", "read"))],
    ]
    assert [len(k) for k in kinds] == [2, 3, 15], kinds

    # Right, whatever errors the instruments have within their specifications.
    for seed in range(1000, 1020 if every else 1006):
        said = check(bench, f"emulation.seed={seed}")
        counts["right"] += 1
        counts["relaxations"].append(said["relaxations"])
        counts["seconds"].append(said["bench_seconds"])
        assert said["passed"] and not said["failures"] and not said["undecided"], (
            seed,
            said["failures"],
            said["undecided"],
        )
        assert len(said["channels"]) == 17 and all(
            c["verdict"] == "right" and abs(c["gain"] - 1) < 0.1 for c in said["channels"]
        ), said["channels"]
        assert [r["name"] for r in said["readings"]] == ["read-2", "read-3", "read-4"]
        assert said["bench_seconds"] < 300, said["bench_seconds"]
    assert bench.read_text() == text  # --keep

    # Two cables exchanged: within each kind, the pair is named and nothing else is said.
    pairs = [pair for kind in kinds for pair in itertools.combinations(kind, 2)]
    assert len(pairs) == 1 + 3 + 105
    if not every:
        pairs = pairs[:4] + random.Random(1).sample(pairs[4:], 12)
    for a, b in pairs:
        said = check(bench, f'emulation.swapped=[["{a}", "{b}"]]', expect=1)
        assert not said["passed"] and said["failures"] == [
            f"{a} behaves like {b}, and {b} like {a}: are their cables exchanged?"
        ], (a, b, said["failures"])
        counts["exchanges"] += 1
    both = check(bench, 'emulation.swapped=[["input-0", "input-1"], ["read-2", "read-3"]]', expect=1)[
        "failures"
    ]
    assert (
        len(both) == 2
        and "input-0 behaves like input-1" in both[0]
        and "read-2 behaves like read-3" in both[1]
    ), both

    # Leads that lead nowhere, and leads that touch ground.
    for wire in wires if every else ("input-1", "read-4", "a-5", "leak-2", "gamma-4"):
        said = check(bench, f'emulation.open="{wire}"', expect=1)
        assert (
            len(said["failures"]) == 1
            and said["failures"][0].startswith(wire + " ")
            and "open" in said["failures"][0]
        ), (wire, said["failures"])
        said = check(bench, f'emulation.shorted="{wire}"', expect=1)
        assert (
            len(said["failures"]) == 1
            and said["failures"][0].startswith(wire + " ")
            and ("shorted" in said["failures"][0] or "open" in said["failures"][0])
        ), (wire, said["failures"])
        counts["leads"] += 2
    assert "no current flows" in check(bench, 'emulation.open="input-0"', expect=1)["failures"][0]
    assert "in compliance" in check(bench, 'emulation.shorted="input-0"', expect=1)["failures"][0]
    failed = run(
        "check",
        bench,
        "--device",
        "emulated",
        "--set",
        'emulation.swapped=[["input-0", "input-1"]]',
        expect=1,
    )
    assert bench.read_text() == text  # a bench that fails is not written to
    assert (
        "like input-1" in failed.stdout and failed.stderr.count("\n") == 1 and "ness: " in failed.stderr
    ), failed

    # Source-meters that hold free nodes: looked at last, by what they hold and what that takes.
    holding = scratch / "bench-emulated-source-meters.toml"
    for seed in range(1000, 1020 if every else 1003):
        said = check(holding, f"emulation.seed={seed}")
        assert said["passed"] and not said["failures"], (seed, said["failures"])
        assert [c["name"] for c in said["channels"][17:]] == ["hold-2", "hold-3", "hold-4"], said["channels"]
        for c in said["channels"][17:]:
            # A step of 20 mV either way, in levels of 50 uV.
            assert (
                c["verdict"] == "right"
                and abs(c["gain"] - 1) < 5e-3
                and c["answered"][0] == c["name"].replace("hold", "read")
            ), c
            assert 0.3 < c["conductance"] < 3, c
    for a, b in itertools.combinations(("hold-2", "hold-3", "hold-4"), 2):
        said = check(holding, f'emulation.swapped=[["{a}", "{b}"]]', expect=1)
        assert said["failures"] == [
            f"{x} holds the terminal of {y.replace('hold', 'read')}: are cables exchanged?"
            for x, y in ((a, b), (b, a))
        ], (a, b, said["failures"])
    said = check(holding, 'emulation.open="hold-3"', expect=1)
    assert said["failures"] == ["hold-3 holds nothing: is its lead open?"], said["failures"]
    said = check(holding, 'emulation.shorted="hold-3"', expect=1)  # its node is
    assert said["failures"] == [
        "read-3 does not respond to any source: is its lead open, or its node shorted?"
    ], said["failures"]
    said = check(holding, "instruments.hold-4.compliance=2e-8", expect=1)
    assert said["failures"] == ["hold-4 is in compliance at tiny levels: is its lead shorted?"], said[
        "failures"
    ]

    # What it writes back. Offsets: the file claims what is not there; the emulated meters have none but
    # their own, a few microvolts.
    claimed = text.replace("node = 3\n", "node = 3\nvolts = 0.0123           # V, of the preamplifier\n", 1)
    claimed = claimed.replace("[settle]\n", "[settle]\nnoise = 0.5               # kT, not measured yet\n")
    bench.write_text(claimed)
    said = check(bench, "emulation.errors=false", keep=False)
    assert said["passed"]
    found = tomllib.loads(bench.read_text())
    # Beyond 5 uV of the scanner's noise and last digit; the offset is averaged over 16 readings.
    assert abs(found["wiring"]["read-3"]["volts"]) < 5e-6, found["wiring"]["read-3"]
    assert "volts" not in found["wiring"]["read-2"] and "volts" not in found["wiring"]["read-4"]
    noise = max(reading["noise"] for reading in said["readings"])
    assert 1e-6 < noise < 1e-4 and abs(found["settle"]["noise"] - noise) < 0.01 * noise
    assert found["settle"]["tau_max"] == 2e-4  # faster than can be seen, and so says the file
    assert all("faster_than" in step and step["faster_than"] < 0.1 for step in said["steps"])
    # All else is as it was: every line but the two.
    old, new = claimed.splitlines(), bench.read_text().splitlines()
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert len(changed) == 2 and all(
        a.split("#")[1] == b.split("#")[1] and a.index("#") == b.index("#") for a, b in changed
    ), changed
    # Noise in the offset: with and without it the same bench says the same, within a few standard errors.
    bench.write_text(text)
    for seed in (1, 2):
        noisy, still = check(bench, f"emulation.seed={seed}"), check(
            bench, f"emulation.seed={seed}", "emulation.noise=false"
        )
        for a, b in zip(noisy["readings"], still["readings"]):
            # Beside the readings', the sources' readback has its noise, 2 uV of an input for a reading at
            # 0.1 PLC, and the last digit of all.
            assert abs(a["offset"] - b["offset"]) < 2e-4, (a, b)

    # Time constants: one node between a 40 kohm edge and an 80 kohm leak, 2 uF.
    (scratch / "node.json").write_text(
        '{"nodes": [{"clamped": true}, {"g": 0.5, "mu_ref": 0}], '
        '"edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]}'
    )
    slow = scratch / "slow.toml"
    slow.write_text(
        """[scale]
volts_per_kT = 0.1
amperes_per_unit = 2.5e-6
[instruments.smu]
model = "keithley-2400"
[instruments.scanner]
model = "keysight-daq970a"
range = 1.0
[instruments.dac]
model = "qdac-ii"
[wiring.source]
instrument = "smu"
node = 0
limits = [-0.5, 0.5]
[wiring.read]              # the one reading
instrument = "scanner"
channel = 101
node = 1
[wiring.leak]
instrument = "dac"
channel = 1
parameter = "mu_ref[1]"
per_volt = 5.0
limits = [-1.9, 1.9]
[settle]
timeout = 20.0
[emulation]
network = "node.json"
capacity = 2e-6
"""
    )
    said = check(slow, keep=False)
    assert said["passed"], said["failures"]
    found = tomllib.loads(slow.read_text())
    tau = 2e-6 * 0.1 / 2.5e-6 / 1.5
    # 20 ms readings of 0.3 kT with 20 uV of noise; times have the jitter of what is said on the line
    # between step and reading.
    for measured in (
        found["settle"]["tau_max"],
        found["wiring"]["read"]["tau_input"],
        found["wiring"]["read"]["tau_gate"],
    ):
        assert abs(measured / tau - 1) < 0.05, (measured, tau)
    assert "[wiring.read]              # the one reading\n" in slow.read_text()
    assert check(slow)["passed"]

    # A divider in a source's line, which the file knows of: the same kT by other levels. One it does not know
    # of: half of what there should be.
    divided = text.replace(
        "node = 0\nlimits = [-0.5, 0.5] ", "node = 0\ndivider = [1e3, 1e3]\nlimits = [-1.0, 1.0] ", 1
    )
    assert divided != text
    bench.write_text(divided)
    assert check(bench)["passed"]
    bench.write_text(divided.replace("divider = [1e3, 1e3]\n", "divider = [1e3, 1e3]\ngain = 2.0\n"))
    said = check(bench, expect=1)["failures"]
    assert len(said) == 1 and re.match(r"input-0 moves its readings 0\.[45]\d* times as much", said[0]), said
    bench.write_text(text)

    # On sockets in real time, against emulators in another process: afterwards, and after a
    # signal, the output is off.
    server = subprocess.Popen(
        [
            ness,
            "emulate",
            str(slow),
            "--json",
            "--trace",
            str(scratch / "trace.csv"),
            "--set",
            "emulation.capacity=1e-9",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        listening = {
            entry["name"]: entry["resource"]
            for entry in (json.loads(server.stdout.readline()) for _ in range(3))
        }
        real = scratch / "real.toml"
        real.write_text(
            re.sub(
                r"(\[instruments\.(\w+)\]\n)",
                lambda m: f'{m[1]}address = "{listening[m[2]]}"\n',
                slow.read_text(),
            )
        )
        is_on = lambda: float(run("query", listening["smu"], ":OUTP?").stdout) != 0
        assert json.loads(run("check", real, "--json", "--keep").stdout)["passed"] and not is_on()
        checking = subprocess.Popen(
            [ness, "check", str(real), "--keep"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        moves = lambda: [
            line.split(",")
            for line in (scratch / "trace.csv").read_text().splitlines()[1:]
            if line.count(",") == 4
        ]
        before = len(moves())
        while len(moves()) < before + 20:  # it is under way
            assert checking.poll() is None, checking.communicate()
            time.sleep(0.01)
        checking.send_signal(signal.SIGINT)
        said = checking.communicate(timeout=60)
        assert checking.returncode == 130 and not is_on(), (checking.returncode, said)
        # 5 % of limits 1 V and 3.8 V apart, and what the instruments are off by.
        for wire, reach in (("source", 0.05), ("leak", 0.19)):
            levels = [float(level) for _, name, what, level, _ in moves() if name == wire and what != "open"]
            assert 0.5 * reach < max(map(abs, levels)) < reach + 2e-3, (wire, min(levels), max(levels))
    finally:
        server.terminate()
        server.wait()

    # Training refuses a bench with an exchanged cable, before there is a log.
    mistaken = scratch / "mistaken.toml"
    mistaken.write_text(text.replace("[emulation]\n", '[emulation]\nswapped = [["gamma-1", "gamma-4"]]\n'))
    log = scratch / "log.h5"
    words = (
        "train",
        experiment,
        "--device",
        "emulated",
        "--bench",
        mistaken,
        "--log",
        log,
        "-q",
        "--set",
        "training.epochs=2",
    )
    refused = run(*words, expect=1).stderr
    assert (
        "gamma-1 behaves like gamma-4" in refused and refused.count("\n") == 1 and not log.exists()
    ), refused
    allowed = run(*words, "--no-check").stderr
    assert "--no-check" in allowed and log.exists(), allowed
    run(
        "train",
        experiment,
        "--device",
        "emulated",
        "--bench",
        bench,
        "--log",
        scratch / "right.h5",
        "-q",
        "--set",
        "training.epochs=2",
    )

    # Wrong files.
    for message, *sets in (
        ("there is no [wiring.input-7]", 'emulation.swapped=[["input-0", "input-7"]]'),
        ("expected pairs of strings", 'emulation.swapped=["input-0", "input-1"]'),
        ("a gate is set by a DAC", 'emulation.swapped=[["input-0", "a-0"]]'),
        ("expected at most 0.5", "check.share=0.7"),
        ("check.tolerance", "check.tolerance=1"),
    ):
        said = run(
            "check",
            bench,
            "--device",
            "emulated",
            *itertools.chain.from_iterable(("--set", s) for s in sets),
            expect=2,
        ).stderr
        assert message in said, said
print("right benches pass, mistakes are named, findings are written back")
if "--json" in sys.argv:
    print(json.dumps(counts))
