"""The training loop on an emulated bench, from the command line: logged, replayed bit for bit,
refused where it should be.

Usage: bench_test.py NESS EXPERIMENTS"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

ness, experiments = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
experiment, bench = experiments / "xor-bench.toml", experiments / "bench-emulated.toml"


def run(*words, expect=0):
    done = subprocess.run([ness, *map(str, words)], capture_output=True, text=True, timeout=600)
    if done.returncode != expect:
        raise SystemExit(
            f"FAILED: ness {' '.join(map(str, words))} ended with {done.returncode}, expected {expect}: "
            f"{done.stdout}{done.stderr}"
        )
    return done


with tempfile.TemporaryDirectory() as directory:
    scratch = pathlib.Path(directory)
    on_bench = ("--device", "emulated", "--bench", bench)
    for estimator in ("ep-centred", "fd-central"):
        log = scratch / f"{estimator}.h5"
        step = ("--set", "estimator.step=0.05") if estimator == "fd-central" else ()
        settings = (
            "--set",
            f"estimator.kind={estimator}",
            *step,
            "--set",
            "training.epochs=25",
            "--json",
            "-q",
        )
        measured = json.loads(run("train", experiment, *on_bench, "--log", log, *settings).stdout)
        simulated = json.loads(
            run("train", experiment, "--log", scratch / f"{estimator}-simulated.h5", *settings).stdout
        )
        assert measured["left_out"] == 0, measured
        # The same loop from the same start: the losses on the way differ by what the instruments' errors make
        # of them (600 uV of an input are 6e-3 kT), and both have learned.
        assert abs(measured["loss"] - simulated["loss"]) < 0.05, (measured["loss"], simulated["loss"])
        replayed = json.loads(run("replay", log, "--json").stdout)
        assert replayed["equal"] and replayed["steps"] == 25, replayed
        inspected = run("inspect", log).stdout
        assert "emulated bench" in inspected and "keithley-2400" in inspected, inspected
    # With source-meters at the free nodes, which are off as long as nobody asks: what is measured is the same
    # within the instruments' errors.
    log = scratch / "source-meters.h5"
    short = ("--set", "training.epochs=10", "--json", "-q")
    holders = ("--device", "emulated", "--bench", experiments / "bench-emulated-source-meters.toml")
    with_holders = json.loads(run("train", experiment, *holders, "--log", log, *short).stdout)
    without_holders = json.loads(
        run("train", experiment, *on_bench, "--log", scratch / "no-source-meters.h5", *short).stdout
    )
    assert (
        with_holders["left_out"] == 0
        and with_holders["safe"]
        and abs(with_holders["loss"] - without_holders["loss"]) < 0.02
    ), (with_holders, without_holders)
    assert json.loads(run("replay", log, "--json").stdout)["equal"]
    # Stopped under way and continued, on the bench again.
    log = scratch / "stopped.h5"
    trainer = subprocess.Popen(
        [
            ness,
            "train",
            experiment,
            *map(str, on_bench),
            "--log",
            str(log),
            "--json",
            "-q",
            "--set",
            "training.epochs=400",
            "--set",
            "training.target_loss=0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not log.exists() or log.stat().st_size < 200000:  # some steps are in it
        assert trainer.poll() is None, trainer.stderr.read()
        time.sleep(0.05)
    trainer.send_signal(signal.SIGINT)
    said, progress = trainer.communicate(timeout=60)
    assert trainer.returncode == 130 and json.loads(said)["status"] == "cancelled", (
        trainer.returncode,
        said,
        progress,
    )
    assert f"--resume {log} --device emulated --bench {bench}" in progress, progress
    assert "as it was begun with" in run("train", "--resume", log, expect=2).stderr
    # The log holds the bench: its file to the letter, and what its instruments said they are.
    held = json.loads(run("inspect", log, "--bench", "--json").stdout)["bench"]
    assert held["file"] == bench.read_text(), held
    assert {one["name"]: one["identity"].split(",")[:2] for one in held["instruments"]} == {
        "input-0": ["KEITHLEY INSTRUMENTS INC.", "MODEL 2400"],
        "input-1": ["KEITHLEY INSTRUMENTS INC.", "MODEL 2400"],
        "scanner": ["Keysight Technologies", "DAQ970A"],
        "gates": ["QDevil", " QDAC-II"],
    }, held["instruments"]
    # On another bench a run does not go on: each difference is named, with both values.
    at_home = bench.read_text().replace('experiment = "xor', f'experiment = "{experiments}/xor')
    for change, by, *said in (
        ("volts_per_kT = 0.1", "volts_per_kT = 0.2", "scale.volts_per_kT: 0.1 then, 0.2 now"),
        ("amperes_per_unit = 2.5e-6", "amperes_per_unit = 3e-6", "scale.amperes_per_unit: "),
        ("per_volt = 5.0 ", "per_volt = -5.0 ", "wiring.a-0.per_volt: 5.0 then, -5.0 now"),
        ("limits = [-0.5, 0.5]", "limits = [-0.6, 0.6]", "limits: [-0.5, 0.5] then, [-0.6, 0.6] now"),
        ("channel = 101", "channel = 104", "wiring.read-2.channel: 101 then, 104 now"),
        ("nplc = 1.0", "nplc = 0.2", "instruments.scanner.nplc: 1.0 then, 0.2 now"),
        ("range = 1.0 ", "range = 10.0 ", "instruments.scanner.range: 1.0 then, 10.0 now"),
    ):
        assert change in at_home, change
        other = scratch / "other-bench.toml"
        other.write_text(at_home.replace(change, by, 1))
        refused = run(
            *("train", "--resume", log, "--device", "emulated", "--bench", other, "--json", "-q"), expect=2
        ).stderr
        for words in (*said, "--changed emulation.experiment,", str(log)):
            assert words in refused, (words, refused)
        assert "Traceback" not in refused
    # Layout, comments and order are no difference.
    other.write_text("# copied\n" + at_home.replace("volts_per_kT = 0.1", "volts_per_kT   = 1.0e-1"))
    refused = run("train", "--resume", log, "--device", "emulated", "--bench", other, "-q", expect=2).stderr
    assert "emulation.experiment" in refused and "volts_per_kT" not in refused, refused
    # What is named is allowed, and said; a name that allows nothing is a mistake.
    elsewhere = ("--device", "emulated", "--bench", other)
    refused = run(
        *("train", "--resume", log, *elsewhere, "--changed", "emulation,scale", "-q"), expect=2
    ).stderr
    assert "--changed scale" in refused, refused
    finished = run("train", "--resume", log, *elsewhere, "--changed", "emulation", "--json", "-q")
    assert "the bench differs: emulation.experiment: " in finished.stderr, finished.stderr
    finished = json.loads(finished.stdout)
    assert finished["status"] == "finished" and finished["epochs"] == 400, finished

    # The same seed gives the same run.
    again = json.loads(run("train", experiment, *on_bench, "--log", scratch / "again.h5", *settings).stdout)
    assert again["theta_digest"] == measured["theta_digest"]
    # So does handing the bytes over in the process, without sockets and pseudo-terminals between.
    without_links = scratch / "without-links.toml"
    without_links.write_text(
        bench.read_text().replace(
            'experiment = "xor-bench.toml"', f'experiment = "{experiment}"\nlinks = false'
        )
    )
    handed_over = json.loads(
        run(
            "train",
            experiment,
            "--device",
            "emulated",
            "--bench",
            without_links,
            "--log",
            scratch / "handed-over.h5",
            *settings,
        ).stdout
    )
    assert handed_over["theta_digest"] == measured["theta_digest"]

    # A run reads its bench file once: a pipe that is written once is enough. (A second reader would
    # wait for a second writer.)
    pipe = scratch / "pipe.toml"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(without_links.read_text(),), daemon=True)
    writer.start()
    piped = json.loads(
        run(
            "train",
            experiment,
            "--device",
            "emulated",
            "--bench",
            pipe,
            "--log",
            scratch / "piped.h5",
            *settings,
        ).stdout
    )
    assert piped["theta_digest"] == measured["theta_digest"]

    # The source-meters on GPIB: behind one emulated Prologix, on a socket.
    behind_prologix = scratch / "prologix.toml"
    text = (
        bench.read_text()
        .replace('experiment = "xor-bench.toml"', f'experiment = "{experiment}"')
        .replace("baud = 57600\n", "")
    )
    for line, primary in (("ASRL/dev/ttyUSB0::INSTR", 24), ("ASRL/dev/ttyUSB1::INSTR", 25)):
        assert line in text
        text = text.replace(line, f"GPIB0::{primary}::INSTR")
    behind_prologix.write_text(text)
    on_gpib = json.loads(
        run(
            "train",
            experiment,
            "--device",
            "emulated",
            "--bench",
            behind_prologix,
            "--log",
            scratch / "prologix.h5",
            "--set",
            "training.epochs=10",
            "--json",
            "-q",
        ).stdout
    )
    assert on_gpib["left_out"] == 0 and on_gpib["steps"] == 10 and on_gpib["loss"] < 0.3, on_gpib

    # The same bench in another process, in real time: `ness train` speaks to a Prologix controller as it
    # would in the laboratory.
    emulator = subprocess.Popen(
        [ness, "emulate", str(behind_prologix), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        resources = {}
        while len(resources) < 5:
            entry = json.loads(emulator.stdout.readline())
            resources[entry["name"]] = entry["resource"]
        real = (
            text.replace("TCPIP0::192.0.2.10::5025::SOCKET", resources["scanner"])
            .replace("TCPIP0::192.0.2.11::5025::SOCKET", resources["gates"])
            .replace("nplc = 1.0", "nplc = 0.02")
        )
        (scratch / "real.toml").write_text(real)
        assert (
            "no controller"
            in run(
                "train",
                experiment,
                "--device",
                "bench",
                "--bench",
                scratch / "real.toml",
                "--log",
                scratch / "real.h5",
                expect=2,
            ).stderr
        )
        (scratch / "real.toml").write_text(f'controllers = ["{resources["GPIB0"]}"]\n' + real)
        by_gpib = json.loads(
            run(
                "train",
                experiment,
                "--device",
                "bench",
                "--bench",
                scratch / "real.toml",
                "--log",
                scratch / "real.h5",
                "--set",
                "training.epochs=2",
                "--json",
                "-q",
            ).stdout
        )
        assert by_gpib["left_out"] == 0 and by_gpib["steps"] == 2 and by_gpib["safe"], by_gpib
        assert json.loads(run("replay", scratch / "real.h5", "--json").stdout)["equal"]
        done = run("safe", scratch / "real.toml").stdout
        assert done.count(" off\n") == 2 and done.count(" on\n") == 15, done
    finally:
        emulator.kill()

    # Refused before anything is switched on, with one line that says what was expected.
    def refused(message, *words):
        said = run("train", experiment, "--log", scratch / "refused.h5", *words, expect=2).stderr
        assert message in said, said
        assert not (scratch / "refused.h5").exists()

    refused("need --bench", "--device", "emulated")
    refused("belongs to --device", "--bench", bench)
    refused("--device", "--device", "lab", "--bench", bench)

    def without(text, table):
        begin = text.index(table)
        return text[:begin] + text[text.index("\n[", begin) + 1 :]

    def wrong(name, message, change, expect=2):
        text = bench.read_text()
        changed = change(text)
        assert changed != text, name
        path = scratch / "wrong.toml"
        path.write_text(changed.replace('experiment = "xor-bench.toml"', f'experiment = "{experiment}"'))
        said = run(
            "train",
            experiment,
            "--device",
            "emulated",
            "--bench",
            path,
            "--log",
            scratch / "wrong.h5",
            expect=expect,
        ).stderr
        assert message in said, (name, said)

    wrong("unknown model", "keithley-2400", lambda t: t.replace("keithley-2400", "keithley-2450", 1))
    wrong("channel wired twice", "wired already", lambda t: t.replace("channel = 2\n", "channel = 1\n", 1))
    wrong(
        "terminal unwired",
        "nothing holds the input terminal 0",
        lambda t: without(without(t, "[wiring.input-0]"), "[instruments.input-0]"),
    )
    wrong(
        "limit beyond the range",
        "beyond the instrument's range",
        lambda t: t.replace("limits = [-0.5, 0.5]", "limits = [-2.5, 2.5]", 1),
    )
    wrong("no limits", "has no limits", lambda t: t.replace("limits = [-0.5, 0.5]      # V\n", "", 1))
    wrong(
        "compliance below its minimum",
        "0.1 % of the measure range",
        lambda t: t.replace("compliance = 1e-4         # A", "compliance = 1e-8\nmeasure_range = 1e-4", 1),
    )
    wrong(
        "safe level outside its limits",
        "outside its limits",
        lambda t: t.replace("safe = -1.9", "safe = -1.999", 1),
    )
print("trained, logged and replayed on an emulated bench; wrong benches refused")
