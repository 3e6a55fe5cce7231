"""Whatever ends a run on a bench, its outputs are in their safe profile, every step on the way was within
every limit, and the log says why.

The bench is `ness emulate` in another process, on sockets and pseudo-terminals in real time: it is asked
where its outputs are, and its own record says where they have been. Between it and `ness train` stands a
proxy that loses connections, garbles and withholds replies, and puts errors into queues.

Usage: safe_test.py NESS EXPERIMENTS"""
import csv
import json
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ness, experiments = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
checks = 0


def check(what, good, seen=""):
    global checks
    checks += 1
    if not good:
        raise SystemExit(f"FAILED: {what}; saw {seen!r}")


class Proxy:
    """Stands between a client and an instrument on TCP. `fault` changes what happens to a message
    of the client's (bytes -> bytes, or None to drop the connection); replies pass unless `mute`,
    and through `garble`."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.reset()
        threading.Thread(target=self.serve, daemon=True).start()

    def reset(self):
        self.fault = self.garble = None
        self.refuse = self.mute = False

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            if self.refuse:
                client.close()
                continue
            try:
                self.carry(client, socket.create_connection(self.target))
            except OSError:
                pass
            client.close()

    def carry(self, client, instrument):
        with instrument:
            while True:
                for ready in select.select([client, instrument, self.listener], [], [])[0]:
                    if ready is self.listener:
                        return  # the client comes anew: it has left this one
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        data = self.fault(data) if self.fault else data
                        if data is None:
                            return
                        instrument.sendall(data)
                    elif not self.mute:
                        client.sendall(self.garble(data) if self.garble else data)


class Once:
    """A fault that happens to the n-th message that contains `text`."""

    def __init__(self, n, text, does):
        self.left, self.text, self.does = n, text, does

    def __call__(self, data):
        if self.text in data:
            self.left -= 1
            if self.left == 0:
                return self.does(data)
        return data


with tempfile.TemporaryDirectory() as directory:
    scratch = pathlib.Path(directory)
    # Steps of 0.1 V, so that an output that is switched off at its level is seen; a fast scanner; inputs
    # never more than 0.35 V apart.
    text = (
        (experiments / "bench-emulated.toml")
        .read_text()
        .replace(
            'experiment = "xor-bench.toml"',
            f'experiment = "{experiments / "xor-bench.toml"}"\nnoise = false\nerrors = false',
        )
    )
    text = (
        text.replace("nplc = 1.0", "nplc = 0.02")
        .replace("step = 0.4", "step = 0.1")
        .replace("nplc = 0.1", "nplc = 0.01")
    )
    text = text.replace(
        "[settle]", '[limits.apart]\ndifference = ["input-0", "input-1"]\nrange = [-0.35, 0.35]\n\n[settle]'
    )
    (scratch / "emulated.toml").write_text(text)
    limits, safe = {}, {}
    for block in text.split("\n[wiring.")[1:]:
        name, keys = block.split("]")[0], dict(
            line.split("#")[0].split(" = ")
            for line in block.splitlines()
            if " = " in line and not line.startswith("#")
        )
        if "limits" in keys:
            limits[name] = json.loads(keys["limits"])
            safe[name] = float(keys.get("safe", 0))
    check("all wires that set a level are known", len(limits) == 17, limits)

    emulator = subprocess.Popen(
        [ness, "emulate", scratch / "emulated.toml", "--json", "--trace", scratch / "trace.csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        resources = {}
        while len(resources) < 4:
            entry = json.loads(emulator.stdout.readline())
            resources[entry["name"]] = entry["resource"]
        proxies = {}
        for name in ("scanner", "gates"):
            host, port = resources[name].split("::")[1:3]
            proxies[name] = Proxy(host, int(port))
        client = text.replace("ASRL/dev/ttyUSB0::INSTR", resources["input-0"]).replace(
            "ASRL/dev/ttyUSB1::INSTR", resources["input-1"]
        )
        client = client.replace(
            "TCPIP0::192.0.2.10::5025", f"TCPIP0::127.0.0.1::{proxies['scanner'].port}"
        ).replace("TCPIP0::192.0.2.11::5025", f"TCPIP0::127.0.0.1::{proxies['gates'].port}")
        client = client.replace("[instruments.scanner]", "[instruments.scanner]\ntimeout = 1.0").replace(
            "[instruments.gates]", "[instruments.gates]\ntimeout = 1.0"
        )
        bench = scratch / "bench.toml"
        bench.write_text(client)

        def ask(name, *messages):
            done = subprocess.run(
                [ness, "query", resources[name], *messages, "--keep-errors"],
                capture_output=True,
                text=True,
                timeout=60,
            )
            check(f"{name} answers", done.returncode == 0, done.stderr)
            return done.stdout.split("\n")[: len(messages)]

        def is_safe(what, but=()):
            for name in ("input-0", "input-1"):
                output, level = ask(name, ":OUTP?", ":SOUR:VOLT?")
                check(f"{what}: {name} is off at 0 V", output == "0" and float(level) == 0, (output, level))
            levels = [float(x) for x in ask("gates", "sour:volt? (@1:15)")[0].split(",")]
            names = [w for w in limits if not w.startswith("input")]
            for name, level in zip(names, levels):
                if name not in but:
                    check(f"{what}: {name} is at its safe level", abs(level - safe[name]) < 1e-6, level)

        def gates_moved():
            """How often a gate has moved so far."""
            return (scratch / "trace.csv").read_text().count(",a[")

        runs = 0

        def begin(*settings, quiet=True, checked=False, **how):
            global runs
            runs += 1
            log = scratch / f"run-{runs}.h5"
            words = [
                ness,
                "train",
                experiments / "xor-bench.toml",
                "--device",
                "bench",
                "--bench",
                bench,
                "--log",
                log,
                "--json",
                *(["-q"] if quiet else []),
                *([] if checked else ["--no-check"]),
            ]
            for setting in settings:
                words += ["--set", setting]
            process = subprocess.Popen(
                [str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
            )
            return process, log

        def under_way(process, log):
            """Until training, which begins with its log after the wiring was checked, has
            moved gates for a while."""
            deadline, before = time.time() + 120, None
            while before is None or gates_moved() < before + 12:
                if before is None and log.exists():
                    before = gates_moved()
                check(
                    "the run goes on",
                    process.poll() is None,
                    process.poll() is not None and process.communicate(),
                )
                check("the run gets under way", time.time() < deadline)
                time.sleep(0.02)

        def ended(process, log, code, status, reason, what):
            out, err = process.communicate(timeout=120)
            check(f"{what}: exit code {code}", process.returncode == code, (process.returncode, out, err))
            inspected = json.loads(
                subprocess.run([ness, "inspect", log, "--json"], capture_output=True, text=True).stdout
            )
            check(f"{what}: the log says {status}", inspected["status"] == status, inspected)
            check(
                f"{what}: and why",
                any(r in inspected["reason"] for r in reason.split("|")),
                inspected["reason"],
            )
            return out, err

        long = ("training.epochs=1000", "training.target_loss=0")

        process, log = begin("training.epochs=2", "training.target_loss=0", checked=True)
        ended(process, log, 0, "finished", "2 epochs", "success")
        is_safe("success")

        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
            process, log = begin(*long)
            under_way(process, log)
            process.send_signal(getattr(signal, name))
            ended(process, log, 130, "cancelled", "", name)
            is_safe(name)

        # Impatience changes nothing, and a live bench is not suspended.
        process, log = begin(*long)
        under_way(process, log)
        for name in ("SIGTSTP", "SIGINT", "SIGINT", "SIGTERM"):
            process.send_signal(getattr(signal, name))
            time.sleep(0.005)
        out, err = ended(process, log, 130, "cancelled", "", "several signals")
        check("Ctrl-Z is refused", "not left standing" in err, err)
        is_safe("several signals")

        # Whoever reads what it says has gone.
        process, log = begin("training.epochs=6", "training.target_loss=0", quiet=False)
        under_way(process, log)
        process.stdout.close()
        process.stderr.close()
        check(
            "closed pipes: it ends, and not as if nothing were wrong",
            process.wait(timeout=120) == 1,
            process.returncode,
        )
        is_safe("closed pipes")

        # A connection is lost for a moment: the run fails, and the fresh link makes safe.
        gates, scanner = proxies["gates"], proxies["scanner"]
        process, log = begin(*long)
        under_way(process, log)
        gates.fault = Once(3, b"sour", lambda data: None)
        ended(
            process, log, 1, "failed", "closed the connection|reset by peer", "a connection lost for a moment"
        )
        gates.reset()
        is_safe("a connection lost for a moment")

        process, log = begin(*long)
        under_way(process, log)
        scanner.fault = Once(3, b"READ?", lambda data: None)
        ended(process, log, 1, "failed", "closed the connection|reset by peer", "a meter lost")
        scanner.reset()
        is_safe("a meter lost")

        # A connection is lost for good: the inputs are safe, the gates stay where they were, and all say so.
        process, log = begin(*long)
        under_way(process, log)
        gates.refuse = True
        gates.fault = Once(3, b"sour", lambda data: None)
        out, err = ended(process, log, 1, "failed", "NOT SAFE", "a connection lost for good")
        check("what is stuck is told", "a-0 at " in err and "gamma-5 at" in err and "last known" in err, err)
        is_safe("a connection lost for good", but=[w for w in limits if not w.startswith("input")])
        gates.reset()
        # The console brings the rest home.
        done = subprocess.run([ness, "safe", bench, "--json"], capture_output=True, text=True, timeout=60)
        check(
            "ness safe", done.returncode == 0 and json.loads(done.stdout)["safe"], done.stdout + done.stderr
        )
        is_safe("ness safe")

        # The wrong answer, no answer, and an error in a queue.
        process, log = begin(*long)
        under_way(process, log)
        scanner.garble = lambda data: b"garbage\n"
        ended(process, log, 1, "failed", "garbage", "a garbled reply")
        scanner.reset()
        is_safe("a garbled reply")

        process, log = begin(*long)
        under_way(process, log)
        scanner.mute = True
        ended(process, log, 1, "failed", "no complete reply to 'READ?'", "a reply withheld")
        scanner.reset()
        is_safe("a reply withheld")

        process, log = begin(*long)
        under_way(process, log)
        gates.fault = Once(2, b"sour", lambda data: data + b"no:such:command 1\n")
        ended(process, log, 1, "failed", "the error queue held -113", "an error in a queue")
        gates.reset()
        is_safe("an error in a queue")

        # A level that was not taken.
        process, log = begin(*long)
        under_way(process, log)
        gates.garble = (
            lambda data: re.sub(rb"^[-+.0-9e]+", b"1.7", data)
            if re.fullmatch(rb"[-+.0-9e, ]+\n", data)
            else data
        )
        ended(process, log, 1, "failed", "was not accepted", "a level that was not taken")
        gates.reset()
        is_safe("a level that was not taken")

        # The log itself: the disk is full. Nothing more can be written into it; the outputs are safe.
        process, log = begin(
            *long, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (450_000, 450_000))
        )
        out, err = process.communicate(timeout=300)
        check("a full disk: exit code 1", process.returncode == 1 and "log" in err, (process.returncode, err))
        is_safe("a full disk")

        # Killed: nothing can be done then, and the next to come brings down what it finds, by its ramp.
        process, log = begin(*long)
        under_way(process, log)
        process.kill()
        process.communicate()
        done = subprocess.run(
            [ness, "safe", bench, "--profile", "emergency"], capture_output=True, text=True, timeout=60
        )
        check("ness safe after SIGKILL", done.returncode == 0, done.stdout + done.stderr)
        is_safe("ness safe after SIGKILL")
        process, log = begin(*long)
        under_way(process, log)
        process.kill()
        process.communicate()
        process, log = begin("training.epochs=1", "training.target_loss=0")
        ended(process, log, 0, "finished", "1 epoch", "a bench found live")
        is_safe("a bench found live")

        # Nobody is there, or someone else.
        def refused(what, message, change, code=1):
            path = scratch / "wrong.toml"
            path.write_text(change(client))
            rows = len((scratch / "trace.csv").read_text().splitlines())
            log = scratch / "refused.h5"
            done = subprocess.run(
                [
                    ness,
                    "train",
                    experiments / "xor-bench.toml",
                    "--device",
                    "bench",
                    "--bench",
                    path,
                    "--log",
                    log,
                ],
                capture_output=True,
                text=True,
                timeout=60,
            )
            check(f"{what}: exit code {code}", done.returncode == code, (done.returncode, done.stderr))
            check(
                f"{what}: one clear line",
                message in done.stderr and done.stderr.count("\n") == 1,
                done.stderr,
            )
            check(f"{what}: nothing was moved", len((scratch / "trace.csv").read_text().splitlines()) == rows)
            check(f"{what}: no log", not log.exists())

        with socket.create_server(("127.0.0.1", 0)) as unused:
            free = unused.getsockname()[1]
        refused(
            "unreachable address",
            "no connection",
            lambda t: t.replace(f"127.0.0.1::{gates.port}", f"127.0.0.1::{free}"),
        )
        refused(
            "the wrong instrument at an address",
            "expected a QDevil QDAC-II",
            lambda t: t.replace(f"127.0.0.1::{gates.port}", "127.0.0.1::X")
            .replace(f"127.0.0.1::{scanner.port}", f"127.0.0.1::{gates.port}")
            .replace("127.0.0.1::X", f"127.0.0.1::{scanner.port}"),
        )
        refused(
            "no such line",
            "/dev/pts/99999",
            lambda t: t.replace(resources["input-0"], "ASRL/dev/pts/99999::INSTR"),
        )
        refused(
            "a scale at which errors are large",
            "error_share",
            lambda t: t.replace("volts_per_kT = 0.1", "volts_per_kT = 1e-5"),
            code=2,
        )

        emulator.send_signal(signal.SIGTERM)
        check("the emulator ends", emulator.wait(timeout=10) == 0)
    finally:
        emulator.kill()

    # Where the outputs have been, in all of this.
    now, changes, last = {w: 0.0 for w in limits}, 0, {}
    with open(scratch / "trace.csv") as file:
        for row in csv.DictReader(file):
            wire, level = row["wire"], float(row["level"])
            if wire not in limits:
                continue
            changes += 1
            low, high = limits[wire]
            # The DAC's registers hold 25 bits of its range; what a 2400 has is what it was told.
            check(f"{wire} within its limits", low - 3e-7 <= level <= high + 3e-7, row)
            if wire.startswith("input"):
                check(
                    f"{wire} moves by no more than its step",
                    abs(level - now[wire]) <= 0.1 + 1e-9,
                    (now[wire], row),
                )
            now[wire] = level
            check("inputs stay together", abs(now["input-0"] - now["input-1"]) <= 0.35 + 1e-9, row)
    check("many changes were seen", changes > 2000, changes)
print(f"{checks} checks passed in {runs} runs: outputs safe, every step within every limit, the log says why")
