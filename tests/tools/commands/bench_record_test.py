"""What a bench run's log says of its bench; parameters taken over from a log; where a log is evaluated.

Usage: bench_record_test.py NESS EXPERIMENTS"""
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import h5py

ness, experiments = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()


def run(*words, expect=0):
    done = subprocess.run([ness, *map(str, words)], capture_output=True, text=True, timeout=600)
    if done.returncode != expect:
        raise SystemExit(
            f"FAILED: ness {' '.join(map(str, words))} ended with {done.returncode}, expected {expect}: "
            f"{done.stdout}{done.stderr}"
        )
    return done


def told(*words, expect=0):
    return json.loads(run(*words, "--json", expect=expect).stdout)


def stopped(scratch, log, *words):
    """A run that is stopped when some of its steps are in the log."""
    trainer = subprocess.Popen(
        [ness, "train", *map(str, words), "--log", str(log), "-q", "--set", "training.epochs=100000"]
        + ["--set", "training.target_loss=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not log.exists() or told("inspect", log, "--quick")["rows"] == 0:
        assert trainer.poll() is None, trainer.stderr.read()
        time.sleep(0.05)
    trainer.send_signal(signal.SIGINT)
    said = trainer.communicate(timeout=60)
    assert trainer.returncode == 130, (trainer.returncode, said)


short = ("--set", "training.epochs=3", "-q")
with tempfile.TemporaryDirectory() as directory:
    scratch = pathlib.Path(directory)
    experiment, bench = scratch / "xor-bench.toml", scratch / "bench.toml"
    experiment.write_text((experiments / "xor-bench.toml").read_text())
    bench.write_text((experiments / "bench-emulated.toml").read_text())
    on_bench = ("--device", "emulated", "--bench", bench)

    # --- the record
    log = scratch / "bench.h5"
    trained = told("train", experiment, *on_bench, "--log", log, *short)
    held = told("inspect", log, "--bench")["bench"]
    instruments = {one["name"]: one for one in held["instruments"]}
    source = instruments["input-0"]
    assert source["settings_start"]["sources"] == "VOLT", source
    assert (source["settings_start"]["output"], source["settings_end"]["output"]) == ("1", "0"), source
    assert float(source["settings_start"]["compliance (A)"]) == 1e-4, source
    assert source["calibration"]["calibrated"] == "2024,3,18", source
    scanner = instruments["scanner"]
    assert scanner["settings_start"]["scan list"] == "(@101,102,103)", scanner
    assert scanner["settings_start"] == scanner["settings_end"], scanner
    gates = instruments["gates"]
    assert "calibration" not in gates and len(gates["settings_end"]) == 15 * 6, gates
    # The safe levels: 0, of a barrier -1.9 V.
    safe = {f"{channel} level (V)": -1.9 if channel > 9 else 0 for channel in range(1, 16)}
    assert {key: float(gates["settings_end"][key]) for key in safe} == safe, gates
    check = held["check"]
    assert {one["name"]: one["verdict"] for one in check["readings"]} == {
        f"read-{k}": "right" for k in (2, 3, 4)
    }, check
    assert all(0 < one["offset_error"] < 1e-4 and one["noise"] > 0 for one in check["readings"]), check
    assert len(check["wires"]) == 17 and all(one["verdict"] == "right" for one in check["wires"]), check
    assert abs(check["wires"][0]["gain"] - 1) < 0.1 and check["relaxations"] > 50, check
    text = run("inspect", log, "--bench").stdout
    for words in ("1 at the start, 0 at the end", "2024,3,18", "check of the cables", "volts_per_kT = 0.1"):
        assert words in text, (words, text)
    with h5py.File(log, locking=False) as file:
        end = file["/entry/bench/instruments/input-0/settings_end"]
        names = [name.decode() for name in end["name"][:]]
        assert end["value"][names.index("output")] == b"0", list(end["value"])
    # Another setting of an instrument, found by comparing two runs.
    other = scratch / "other.toml"
    other.write_text(bench.read_text().replace("nplc = 1.0", "nplc = 0.2", 1))
    assert other.read_text() != bench.read_text()
    run("train", experiment, "--device", "emulated", "--bench", other, "--log", scratch / "other.h5", *short)
    found = {one["key"] for one in told("diff", log, scratch / "other.h5", expect=1)["bench"]}
    assert "instruments.scanner.settings_start.101 nplc" in found, found
    assert "instruments.scanner.nplc" in found and not any("compliance" in key for key in found), found

    # --- where a log is evaluated
    assert "not on the bench that the run was made on" in run("evaluate", log).stdout
    simulated = told("evaluate", log)
    assert simulated["device"] == "simulation" and "--device bench" in simulated["evaluated"], simulated
    bench.rename(scratch / "moved.toml")
    experiment.rename(scratch / "moved-experiment.toml")
    measured = told("evaluate", log, "--device", "emulated", "--log", scratch / "evaluated.h5")
    assert measured["device"] == "emulated" and measured["safe"], measured
    assert measured["theta_digest"] == trained["theta_digest"], measured
    # The same instruments at the same levels: all that differs is their noise.
    assert abs(measured["train"]["loss"] - trained["train"]["loss"]) < 1e-3, (measured, trained)
    assert abs(simulated["train"]["loss"] - measured["train"]["loss"]) < 0.05, (simulated, measured)
    again = told("inspect", scratch / "evaluated.h5", "--bench")["bench"]
    assert again["file"] == held["file"] and again["instruments"][0]["settings_end"]["output"] == "0", again
    (scratch / "moved.toml").rename(bench)
    (scratch / "moved-experiment.toml").rename(experiment)
    differs = run("evaluate", log, "--device", "emulated", "--bench", other)
    assert "the bench differs: instruments.scanner.nplc: 1.0 then, 0.2 now" in differs.stderr, differs.stderr
    assert "belongs to --device" in run("evaluate", log, "--bench", bench, expect=2).stderr

    # --- parameters from a log
    twin = scratch / "twin.h5"
    source = told("train", experiment, "--log", twin, "--set", "training.epochs=20", "-q")
    assert "on the simulation of the log's network" in run("evaluate", twin).stdout
    assert "need --bench" in run("evaluate", twin, "--device", "emulated", expect=2).stderr
    tuned = scratch / "tuned.h5"
    run("train", experiment, "--from", twin, *on_bench, "--log", tuned, *short)
    begun = told("inspect", tuned, "--steps", "3")
    assert begun["from"] == {
        "path": str(twin),
        "parameters": "last",
        "step": source["steps"],
        "theta_digest": source["theta_digest"],
    }, begun
    assert begun["last_steps"][0]["theta_before"] == source["theta_digest"], begun
    assert f"begun with   the parameters of {twin}" in run("inspect", tuned).stdout
    assert told("replay", tuned)["equal"]
    assert told("evaluate", tuned, "--step", "0")["theta_digest"] == source["theta_digest"]
    third = told("inspect", twin, "--steps", "20")["last_steps"][3]
    for which, digest in (("3", third["theta_before"]), ("best", source["best"]["theta_digest"])):
        name = scratch / f"from-{which}.h5"
        run("train", experiment, "--from", f"{twin}@{which}", "--log", name, *short)
        assert told("inspect", name)["from"]["theta_digest"] == digest, which
        assert told("replay", name)["equal"]
    # Killed before its first checkpoint, a run begins again with the same parameters.
    killed, whole = scratch / "killed.h5", scratch / "whole.h5"
    words = ("train", experiment, "--from", twin, "-q", "--set", "training.checkpoint_every=1000")
    words += ("--set", "training.epochs=400", "--set", "training.target_loss=0")
    expected = told(*words, "--log", whole)
    process = subprocess.Popen(
        [ness, *map(str, words), "--log", str(killed), "--set", "log.group_rows=64"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not killed.exists() or told("inspect", killed, "--quick")["rows"] == 0:
        time.sleep(0.02)
    process.kill()
    process.wait()
    left = told("inspect", killed, "--quick")
    if left["cut_short"]:
        assert left["checkpoints"] == 0, left
        resumed = told("train", "--resume", killed, "-q")
        assert resumed["theta_digest"] == expected["theta_digest"], (resumed, expected)
    assert told("replay", killed)["equal"]

    def refused(message, *words):
        said = run("train", experiment, "--log", scratch / "refused.h5", *words, "-q", expect=2).stderr
        assert message in said and said.count("\n") <= 1, said
        assert not (scratch / "refused.h5").exists()

    refused("expected LOG, LOG@STEP, LOG@best or LOG@last", "--from", f"{twin}@worst")
    narrow = scratch / "narrow.toml"
    narrow.write_text(bench.read_text().replace("limits = [-1.9, 1.9]", "limits = [-0.001, 0.001]", 1))
    refused("a[0] is ", "--from", twin, "--device", "emulated", "--bench", narrow)
    refused("outside of its range here, [", "--from", twin, "--device", "emulated", "--bench", narrow)
    plain = scratch / "plain.h5"
    run("train", experiment, "--set", "network.layers=[2,3,1]", "--log", plain, *short)
    refused("its parameters are not those of this device", "--from", plain)
    missing = run("train", experiment, "--from", f"{twin}@99", "--log", scratch / "x.h5", expect=1).stderr
    assert "holds 20 steps, not 99" in missing, missing

    # --- what `ness check` writes is compared within its errors
    cables = bench.read_text().replace("[wiring.read-2]\n", "[wiring.read-2]\nvolts = 1.0e-4\n")
    cables = cables.replace("tau_max = 2e-4 ", "noise = 2.0e-5\ntau_max = 2e-4 ")
    bench.write_text(cables)
    log = scratch / "stopped.h5"
    stopped(scratch, log, experiment, *on_bench)
    errors = {
        one["name"]: one["offset_error"]
        for one in told("inspect", log, "--bench")["bench"]["check"]["readings"]
    }
    volts = 0.1 * errors["read-2"]  # of one check; of two combined 1.4 times as much
    changed = scratch / "changed.toml"
    elsewhere = ("train", "--resume", log, "--device", "emulated", "--bench", changed, "-q", "--json")
    for key, old, value, said in (
        (
            "volts",
            "1.0e-4",
            1e-4 + 8 * volts,
            "wiring.read-2.volts (more than 4 combined standard errors of ",
        ),
        ("volts", "1.0e-4", 2e-3, "wiring.read-2.volts ("),
        ("noise", "2.0e-5", 1e-4, "settle.noise (more than 4 combined"),
        ("tau_max", "2e-4", 3e-4, "settle.tau_max (more than 4 combined"),
    ):
        changed.write_text(cables.replace(f"{key} = {old}", f"{key} = {value:.6e}"))
        assert changed.read_text() != cables
        refusal = run(*elsewhere, expect=2).stderr
        assert said in refusal and " then, " in refusal, (key, value, refusal)
    within = cables.replace("volts = 1.0e-4", f"volts = {1e-4 + 4 * volts:.9e}")
    within = within.replace("noise = 2.0e-5", "noise = 2.6e-5").replace("tau_max = 2e-4", "tau_max = 2.1e-4")

    # --- the bench on which a run went on
    changed.write_text(within)
    process = subprocess.Popen(
        [ness, *map(str, elsewhere)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not told("inspect", log, "--quick")["bench"].get("continued"):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "differs" not in said[1] and "read-2" not in said[1], said
    held = told("inspect", log, "--bench")
    once = held["bench"]["continued"]
    assert len(once) == 1 and once[0]["differences"] == [], once[0]["differences"]
    assert once[0]["first_row"] > 0, once[0]["first_row"]
    assert once[0]["file"] == changed.read_text() and held["bench"]["file"] == cables, once
    assert once[0]["instruments"][0]["settings_end"]["output"] == "0", once
    # Another scale, by name.
    wider = within.replace("volts_per_kT = 0.1", "volts_per_kT = 0.11")
    assert wider != within
    changed.write_text(wider)
    assert "--changed scale.volts_per_kT" in run(*elsewhere, expect=2).stderr
    for words, count in (("--changed", "scale.volts_per_kT"), 2), ((), 3):
        process = subprocess.Popen(
            [ness, *map(str, elsewhere), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while len(told("inspect", log, "--quick")["bench"].get("continued", [])) < count:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
        assert process.returncode == 130, said
    twice = told("inspect", log, "--bench")["bench"]["continued"]
    assert twice[1]["differences"] == ["scale.volts_per_kT: 0.1 then, 0.11 now"], twice[1]["differences"]
    # What was allowed once is the run's bench from then on.
    assert twice[2]["differences"] == [] and twice[2]["file"] == wider, twice[2]
    text = run("inspect", log, "--bench").stdout
    assert "changed: scale.volts_per_kT: 0.1 then, 0.11 now" in text and "volts_per_kT = 0.11" in text, text
    # Without a check in the log there is no error to compare with.
    unchecked = scratch / "unchecked.h5"
    bench.write_text(cables)
    stopped(scratch, unchecked, experiment, *on_bench, "--no-check")
    changed.write_text(cables.replace("volts = 1.0e-4", "volts = 1.000001e-4"))
    refusal = run(
        "train", "--resume", unchecked, "--device", "emulated", "--bench", changed, "-q", expect=2
    ).stderr
    assert "wiring.read-2.volts: 1e-04 then, 0.0001000001 now" in refusal, refusal

    # --- on instruments that are reached as in the laboratory
    emulated = (experiments / "bench-emulated.toml").read_text()
    emulated = emulated.replace("nplc = 1.0", "nplc = 0.02")
    (scratch / "served.toml").write_text(emulated)
    emulator = subprocess.Popen(
        [ness, "emulate", str(scratch / "served.toml"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        real = emulated
        resources = {}
        for _ in range(4):
            entry = json.loads(emulator.stdout.readline())
            resources[entry["name"]] = entry["resource"]
        for address, name in (
            ("ASRL/dev/ttyUSB0::INSTR", "input-0"),
            ("ASRL/dev/ttyUSB1::INSTR", "input-1"),
            ("TCPIP0::192.0.2.10::5025::SOCKET", "scanner"),
            ("TCPIP0::192.0.2.11::5025::SOCKET", "gates"),
        ):
            assert address in real
            real = real.replace(address, resources[name])
        there = scratch / "real.toml"
        there.write_text(real)
        log = scratch / "real.h5"
        once = ("--set", "training.epochs=1", "-q")
        run("train", experiment, "--from", twin, "--device", "bench", "--bench", there, "--log", log, *once)
        there.unlink()
        measured = told("evaluate", log, "--device", "bench")
        assert measured["device"] == "bench" and measured["safe"], measured
        assert "not on the bench" in run("evaluate", log).stdout
        moved = scratch / "moved-scale.toml"
        moved.write_text(real.replace("volts_per_kT = 0.1", "volts_per_kT = 0.11"))
        given = ("evaluate", log, "--device", "bench", "--bench", moved)
        assert "scale.volts_per_kT: 0.1 then, 0.11 now" in run(*given, expect=2).stderr
        allowed = run(*given, "--changed", "scale", "--json")
        assert "the bench differs: scale.volts_per_kT" in allowed.stderr, allowed.stderr
        # Cables that are not where the file says: nothing is evaluated, and the bench is safe.
        swapped = real.replace("channel = 101", "channel = 109").replace("channel = 102", "channel = 101")
        moved.write_text(swapped.replace("channel = 109", "channel = 102"))
        failed = run(*given, "--changed", "wiring", expect=1)
        assert "fails its check" in failed.stderr, failed.stderr
        done = run("safe", moved).stdout
        assert done.count(" off\n") == 2, done
    finally:
        emulator.kill()
print("passed")
