"""Third-party clients, unmodified, from Debian's packages, against `ness emulate`: PyMeasure,
PyVISA-py, lxi-tools, sigrok-cli.

Usage: clients_test.py NESS BENCH. Every check compares with what the circuit must give: 40 kohm
between two source-meters.
"""
import json
import math
import shutil
import signal
import socket
import subprocess
import sys

ness, bench = sys.argv[1], sys.argv[2]
checks = 0


def check(what, good, seen=""):
    global checks
    checks += 1
    if not good:
        raise SystemExit(f"FAILED: {what}; saw {seen!r}")


def near(what, value, wanted, tolerance):
    check(f"{what}: {wanted} within {tolerance}", abs(value - wanted) <= tolerance, value)


emulator = subprocess.Popen(
    [ness, "emulate", bench, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
)
try:
    # Once a line is printed, its instrument listens.
    resources = {}
    while len(resources) < 7:
        line = emulator.stdout.readline()
        check("the emulator starts", line != "", emulator.poll())
        entry = json.loads(line)
        resources[entry["name"]] = entry["resource"]
    port = lambda name: resources[name].split("::")[2]

    # PyVISA-py over TCP and over a pseudo-terminal.
    import pyvisa

    manager = pyvisa.ResourceManager("@py")
    ends = {"read_termination": "\n", "write_termination": "\n", "timeout": 10000}
    gates = manager.open_resource(resources["gates"], **ends)
    check("QDAC-II by PyVISA", gates.query("*idn?").startswith("QDevil, QDAC-II"), "")
    gates.write("sour1:volt 0")
    drain = manager.open_resource(resources["drain"], **ends)
    drain.write(":SENS:CURR:PROT 1E-3;:SOUR:VOLT 0;:OUTP ON")
    check("2400 by PyVISA on TCP", drain.query(":OUTP?") == "1")
    check("errors by PyVISA", drain.query(":SYST:ERR?") == '0,"No error"')
    serial = manager.open_resource(resources["source"], **ends)
    check("2400 by PyVISA on a pseudo-terminal", "MODEL 2400" in serial.query("*IDN?"))
    serial.close()

    # PyMeasure's driver of the 2400, on the pseudo-terminal: source, measure, buffer, shutdown.
    from pymeasure.instruments.keithley import Keithley2400

    smu = Keithley2400(resources["source"], visa_library="@py", **ends)
    smu.reset()
    smu.apply_voltage(voltage_range=2, compliance_current=1e-3)
    check("PyMeasure reads the compliance back", math.isclose(smu.compliance_current, 1e-3))
    smu.measure_current(nplc=1, current=1e-4, auto_range=False)
    smu.source_voltage = 1.0
    smu.enable_source()
    smu.write(":SYST:AZER:STAT 0")
    # One-year errors: 0.02 % + 600 uV of each source over 40 kohm, 0.025 % + 6 nA of the 100 uA range, 1 ohm
    # leads, and the QDAC's offset through the gate (2e-4 of 10 V at one unit a volt). The 34401A's 10 Mohm at
    # the source's node take their share.
    ohm = 1 / 40e3 + 1 / 10e6
    near("PyMeasure's current", smu.current, ohm, 1 / 40e3 * (2e-4 + 2.5e-4 + 6e-4) + 1.2e-3 / 40e3 + 6e-9)
    smu.source_voltage = -0.5
    near("PyMeasure's other current", smu.current, -0.5 * ohm, 0.5 / 40e3 * 1.1e-3 + 1.2e-3 / 40e3 + 6e-9)
    smu.config_buffer(10, delay=0)
    smu.start_buffer()
    smu.wait_for_buffer(timeout=30)
    buffered = list(smu.buffer_data)
    check("ten readings in the buffer", len(buffered) == 10, buffered)
    near("PyMeasure's buffer", sum(buffered) / 10, -0.5 * ohm, 0.5 / 40e3 * 1.1e-3 + 1.2e-3 / 40e3 + 6e-9)
    smu.reset_buffer()
    smu.shutdown()
    check("PyMeasure's shutdown switches off", smu.ask(":OUTP?").strip() == "0")
    errors = [smu.ask(":SYST:ERR?").strip() for _ in range(2)]
    check("PyMeasure made no error", errors[-1].startswith("0"), errors)
    smu.write("*RST;:SENS:CURR:PROT 1E-3;:SOUR:VOLT 1;:OUTP ON")
    check("it is on again", smu.ask(":OUTP?").strip() == "1")

    # lxi-tools: queries over a raw socket.
    def lxi(name, command):
        done = subprocess.run(
            ["lxi", "scpi", "-a", "127.0.0.1", "-p", port(name), "-r", command],
            capture_output=True,
            text=True,
            timeout=60,
        )
        check(f"lxi scpi {command}", done.returncode == 0, done.stderr)
        return done.stdout.strip()

    check("lxi reads the identity", lxi("meter", "*IDN?").startswith("Keysight Technologies,34461A"))
    drained = float(lxi("meter", "READ?"))
    near("lxi reads a held node", drained, 0, 1.3e-3)
    check("lxi sees an error queue", lxi("meter", "SYST:ERR?") == '+0,"No error"')

    # sigrok-cli's driver of SCPI multimeters.
    connection = f"scpi-dmm:conn=tcp-raw/127.0.0.1/{port('classic')}"
    scan = subprocess.run(
        ["sigrok-cli", "-d", connection, "--scan"], capture_output=True, text=True, timeout=60
    )
    check("sigrok finds the 34401A", "34401A" in scan.stdout, scan.stdout + scan.stderr)
    read = subprocess.run(
        ["sigrok-cli", "-d", connection, "--samples", "3", "-O", "csv"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    values = [float(line) for line in read.stdout.splitlines() if line and line[0] in "-+0123456789"]
    check("sigrok reads three samples", len(values) == 3, read.stdout + read.stderr)
    for value in values:
        near("sigrok's volts", value, 1, 1e-3 + 1e-4)  # the source's 0.02 % + 600 uV, the meter's 35 ppm

    # A Prologix, by hand: the scanner behind it.
    host, prologix = resources["GPIB0"].split("::")[1:3]
    with socket.create_connection((host, int(prologix)), timeout=20) as link:
        lines = link.makefile("rw", newline="\n")

        def say(text):
            lines.write(text + "\n")
            lines.flush()

        for setting in ("++savecfg 0", "++auto 0", "++eoi 1", "++read_tmo_ms 3000", "++addr 9"):
            say(setting)
        say("*IDN?")
        say("++read eoi")
        check("a scanner behind a Prologix", "34970A" in lines.readline())
        say("CONF:VOLT:DC 10,0.0001,(@101,102)")
        say("READ?")
        say("++read eoi")
        first, second = (float(x) for x in lines.readline().split(","))
        near("scanned source", first, 1, 1.1e-3)
        near("scanned drain", second, 0, 1.1e-3)

    # Ness's own console, beside them.
    def own(*words, expect=0):
        done = subprocess.run([ness, *words], capture_output=True, text=True, timeout=60)
        check(f"ness {' '.join(words)}", done.returncode == expect, done.stdout + done.stderr)
        return done.stdout

    identities = own(
        "idn",
        resources["source"],
        resources["meter"],
        resources["scanner"],
        "--via",
        resources["GPIB0"],
        "--json",
    )
    check(
        "ness idn",
        ["MODEL 2400" in identities, "34461A" in identities, "34970A" in identities] == [True] * 3,
        identities,
    )
    near("ness query", float(own("query", resources["meter"], "VOLT:DC:NPLC 1", "READ?")), 0, 1.3e-3)
    # A compliance below the 2400's minimum is refused by it, in its queue alone: the console tells.
    own("query", resources["source"], ":SENS:CURR:PROT 1E-9", expect=1)
    own(
        "query",
        resources["meter"],
        "SAMP:COUN 100",
        "VOLT:DC:NPLC 100",
        "READ?",
        "--timeout",
        "0.2",
        expect=1,
    )
    own("idn", "TCPIP0::127.0.0.1::5025", expect=2)

    # Everything ends with a signal, at once and cleanly.
    emulator.send_signal(signal.SIGTERM)
    check("SIGTERM ends it with 0", emulator.wait(timeout=10) == 0, emulator.returncode)
finally:
    emulator.kill()
print(
    f"{checks} checks passed: PyMeasure, PyVISA-py, lxi-tools {shutil.which('lxi')}, "
    f"sigrok-cli {shutil.which('sigrok-cli')}"
)
