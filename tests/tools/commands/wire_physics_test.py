"""Physics through the wire: `ness emulate` on real sockets and pseudo-terminals, measured by SCPI
alone and by `ness sweep`, against closed forms. What may differ is the one-year accuracy of the
instruments, and nothing else.

Usage: wire_physics_test.py NESS DIRECTORY_OF_WIRE_TOML [--seed N] [--json]
"""
import argparse
import json
import math
import os
import pathlib
import select
import signal
import socket
import subprocess
import tempfile
import time
import tty

parser = argparse.ArgumentParser()
parser.add_argument("ness")
parser.add_argument("directory", type=pathlib.Path)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--json", action="store_true")
options = parser.parse_args()
bench = options.directory / "wire.toml"

# The specification sheets, not the emulator. Keithley 2400, one year, SPEC-2400: range: (gain, offset,
# display, noise peak to peak).
VOLTS = {
    0.2: (1.2e-4, 300e-6, 1e-6, 5e-6),
    2: (1.2e-4, 300e-6, 10e-6, 50e-6),
    20: (1.5e-4, 1.5e-3, 100e-6, 500e-6),
}
AMPERES = {
    1e-6: (2.9e-4, 300e-12, 10e-12, 5e-12),
    1e-5: (2.7e-4, 700e-12, 100e-12, 50e-12),
    1e-4: (2.5e-4, 6e-9, 1e-9, 500e-12),
    1e-3: (2.7e-4, 60e-9, 10e-9, 5e-9),
}
# What the source is off its level by: gain, offset, programming step.
SOURCE = {0.2: (2e-4, 600e-6, 5e-6), 2: (2e-4, 600e-6, 50e-6), 20: (2e-4, 2.4e-3, 500e-6)}
# 34401A, 34461A and DAQ970A, direct voltage, one year: parts of the reading, parts of the range; resolution
# at 10 NPLC (34401A user's guide chapter 8, Truevolt data sheet). Multiplexers add 3 uV.
METER = {0.1: (50e-6, 35e-6), 1: (40e-6, 7e-6), 10: (35e-6, 5e-6)}
RESOLUTION = 1e-6
# Displays round, and noise is random: four standard deviations of it, six of which are peak to peak.
NOISE = 4 / 6


def of_volts(value, volts, nplc=1):
    gain, offset, display, noise = VOLTS[volts]
    return gain * abs(value) + offset + display / 2 + NOISE * noise / math.sqrt(nplc)


def of_amperes(value, amperes, nplc=1):
    gain, offset, display, noise = AMPERES[amperes]
    return gain * abs(value) + offset + display / 2 + NOISE * noise / math.sqrt(nplc)


def of_level(value, volts):
    gain, offset, step = SOURCE[volts]
    return gain * abs(value) + offset + step / 2


def of_meter(value, volts, scanned=False):
    reading, full = METER[volts]
    return (
        reading * abs(value) + (full + 2.5 * RESOLUTION) * volts + (3e-6 if scanned else 0)
    )  # half a digit, and noise of half a digit


worst = {}


def check(what, good, seen=""):
    if not good:
        raise SystemExit(f"FAILED: {what}; saw {seen!r}")


def near(what, value, wanted, accuracy):
    """`value` against the closed form; the share of the accuracy it is off by is remembered."""
    share = abs(value - wanted) / accuracy
    worst[what] = max(worst.get(what, 0), share)
    check(f"{what}: {wanted:.9g} within {accuracy:.3g}, {share:.2f} of it", share <= 1, value)


class Link:
    """Lines to an instrument: a socket, a pseudo-terminal, or a Prologix controller's address."""

    def __init__(self, resource, controller=None):
        parts = resource.split("::")
        self.address = None
        if controller:
            self.address = int(parts[1])
            parts = controller.split("::")
        if parts[0].startswith("ASRL"):
            self.socket = None
            self.handle = os.open(parts[0][4:], os.O_RDWR | os.O_NOCTTY)
            tty.setraw(self.handle)
        else:
            self.socket = socket.create_connection((parts[1], int(parts[2])), timeout=10)
            self.handle = self.socket.fileno()
        if self.address is not None:
            self.send(f"++mode 1\n++auto 0\n++addr {self.address}")
        self.rest = b""

    def send(self, text):
        data = text.encode() + b"\n"
        while data:
            data = data[os.write(self.handle, data) :]

    def write(self, *messages):
        for message in messages:
            self.send(message)

    def query(self, message):
        self.send(message + ("\n++read eoi" if self.address is not None else ""))
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.handle], [], [], 20)
            check(f"a reply to {message}", ready)
            self.rest += os.read(self.handle, 65536)
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode().strip()

    def numbers(self, message):
        return [float(x) for x in self.query(message).split(",")]

    def clean(self, who):
        error = self.query(":SYST:ERR?")
        check(f"no error in the queue of {who}", error.startswith(("0,", "+0,")), error)

    def close(self):
        if self.socket:
            self.socket.close()
        else:
            os.close(self.handle)


def source(link, compliance, measure, volts=2):
    """A 2400 that holds a voltage, both quantities measured in fixed ranges at 1 NPLC."""
    link.write(
        "*RST",
        f":SOUR:FUNC VOLT;:SOUR:VOLT:RANG {volts};:SOUR:VOLT 0",
        ":SENS:FUNC:CONC ON",
        ":SENS:FUNC 'VOLT','CURR'",
        f":SENS:CURR:PROT {compliance}",
        f":SENS:CURR:RANG {measure}",
        ":SENS:CURR:NPLC 1;:SYST:AZER:STAT 0;:FORM:ELEM VOLT,CURR,STAT",
        ":OUTP ON",
    )
    check(
        "the output is on", link.query(":OUTP?") == "1"
    )  # and everything before it is done, before another instrument measures


def reads(link, level=None):
    if level is not None:
        link.write(f":SOUR:VOLT {level}")
    volts, amperes, status = link.numbers(":READ?")
    return volts, amperes, round(status)


def meter(link, volts, high=True):
    zero, inputs = (
        ("ZERO:AUTO", "INP:IMP:AUTO")
        if "34401A" in link.query("*IDN?")
        else ("VOLT:DC:ZERO:AUTO", "VOLT:DC:IMP:AUTO")
    )
    link.write(
        f"CONF:VOLT:DC {volts}", "VOLT:DC:NPLC 10", f"{zero} OFF", f"{inputs} {'ON' if high else 'OFF'}"
    )


def ohm(links):
    """40 kohm between two source-meters; 1 Mohm into a preamplifier that turns the sign, and a divider of
    10 Mohm, load the left one."""
    R, far, lead, high = 40e3, 1e6 + 1 + 99, 1, 1e10
    left, right, scanner = links["left"], links["right"], links["scanner"]
    source(left, 1e-4, 1e-4)
    source(right, 1e-4, 1e-4)
    scanner.write(
        "CONF:VOLT:DC 1,DEF,(@101,102)", "SENS:VOLT:DC:NPLC 10,(@101,102)", "INP:IMP:AUTO ON,(@101,102)"
    )
    for level in (-0.9, -0.3, 0.1, 0.5, 1.0):
        V, I, _ = reads(left, level)
        near("Ohm: level", V, level, of_level(level, 2) + of_volts(V, 2))
        U, J, _ = reads(right)
        volts_error = of_volts(V, 2) + of_volts(U, 2)
        # What the right one draws comes through the 40 kohm and two leads.
        near("Ohm's law", -J, (V - U) / (R + 2 * lead), volts_error / R + of_amperes(J, 1e-4))
        node = V - lead * I
        divider, ampere = scanner.numbers("READ?")
        below = 1 / (1 / 1e6 + 1 / high)
        near(
            "a divider in a meter's line",
            divider,
            node * below / (lead + 9e6 + below),
            of_volts(V, 2) / 10 + of_meter(divider, 1, True),
        )
        near(
            "a preamplifier of -1e6 V/A",
            ampere,
            -1e6 * node / far,
            of_volts(V, 2) + of_meter(ampere, 1, True),
        )
        near(
            "Kirchhoff",
            I + J,
            node / far + node / (9e6 + 1e6),
            of_volts(V, 2) / far + of_amperes(I, 1e-4) + of_amperes(J, 1e-4) + abs(node) / 1e10,
        )
    for name in ("left", "right", "scanner"):
        links[name].clean(name)


def compliance(links):
    """The same resistor with 10 uA allowed: the status word says so, and the voltage is what 10 uA make."""
    R, lead = 40e3, 1
    left, right = links["left"], links["right"]
    source(left, 1e-5, 1e-5)
    for level in (1.0, -1.0):
        limit = math.copysign(1e-5, level)
        V, I, status = reads(left, level)
        U, J, _ = reads(right)
        near("compliance: current", I, limit, of_amperes(I, 1e-5))
        loads = 1 / (1e6 + 100) + 1 / 1e7  # the 1 Mohm and the divider, to ground
        # (V' - U)/(R + lead) + V' loads = limit at the node, and the lead's share at the terminals.
        reached = (limit + U / (R + lead)) / (1 / (R + lead) + loads) + lead * limit
        near("compliance: voltage reached", V, reached, of_volts(V, 2) + of_volts(U, 2))
        check(
            "the status word says compliance (bit 3), not range compliance (bit 16)",
            status & 1 << 3 and not status & 1 << 16,
            status,
        )
        check("tripped", left.query(":SENS:CURR:PROT:TRIP?") == "1")
    V, I, status = reads(left, 0.2)
    check(
        "out of compliance again", not status & 1 << 3 and left.query(":SENS:CURR:PROT:TRIP?") == "0", status
    )
    # Where the measure range ends first, the status word names it.
    left.write(":SENS:CURR:PROT 1e-4", ":SENS:CURR:RANG 1e-5")
    V, I, status = reads(left, 1.0)
    near("range compliance: current", I, 1.05e-5, of_amperes(I, 1e-5))
    check("range compliance (bit 16)", status & 1 << 16 and not status & 1 << 3, status)
    for name in ("left", "right"):
        links[name].write(":SOUR:VOLT 0", ":OUTP OFF")
        links[name].clean(name)


def diode(links):
    """An enzyme edge far from saturation is Shockley's diode. Its law is
        I = (Vf/Ka) (c_s - c_t/K) / (1 + c_s/Ka + c_t/Kb + ..)
    with c = exp(mu) (mu0 = 0, so K = 1). With Ka = Kb = 1e12 and c up to 1e6 the denominator is 1 within
    1e-6, and
        I = I_s (e^(V_s/V_T) - e^(V_t/V_T)), I_s = Vf/Ka x 1 uA = 1 nA, V_T = 0.1 V (a kT),
    which with the cathode at ground is I_s (e^(V/V_T) - 1). It is not: 11 ohms of
    preamplifier and lead stand between.
    """
    I_s, V_T, lead, ground = 1e-9, 0.1, 1, 1 + 10
    anode, current = links["anode"], links["current"]
    source(anode, 1e-3, 1e-3)
    low, high = math.inf, 0
    for step in range(-2, 16):
        level = 0.2 + 0.07 * step
        expected = I_s * math.expm1(level / V_T)
        measure = next(r for r in AMPERES if abs(expected) * 1.05 < r)
        # Ranges go up by the compliance first, down by it last.
        anode.write(":SENS:CURR:PROT 1e-3", f":SENS:CURR:RANG {measure}", f":SOUR:VOLT {level}")
        full = next(r for r in METER if abs(1e4 * expected) * 1.05 < r)
        meter(current, full)
        V, I, status = reads(anode)
        check("the diode is not in compliance", not status & (1 << 3 | 1 << 16), status)
        ampere = current.numbers("READ?")[0] / 1e4
        # The currents are small where the exponent is steep: what they make of 12 ohms is known
        # far better than the volts.
        wanted = I_s * (math.exp((V - lead * I) / V_T) - math.exp(ground * I / V_T))
        accuracy = I_s * math.exp((V - lead * I) / V_T) / V_T * of_volts(V, 2) + 2e-6 * abs(wanted)
        near("a diode, by the source-meter", I, wanted, accuracy + of_amperes(I, measure))
        near(
            "a diode, by a preamplifier of 1e4 V/A",
            ampere,
            wanted,
            accuracy + of_meter(1e4 * ampere, full) / 1e4,
        )
        if of_meter(1e4 * ampere, full) / 1e4 < 0.05 * abs(ampere) and step >= 0:
            low, high = min(low, abs(ampere)), max(high, abs(ampere))
    check("at least four decades, each current to 5 % of itself or better", high / low >= 1e4, (low, high))
    near("a diode backwards", reads(anode, -0.6)[1], -I_s, of_amperes(I_s, 1e-3))
    anode.write(":SOUR:VOLT 0", ":SENS:CURR:RANG 1e-6")
    near("a diode backwards", reads(anode, -0.6)[1], -I_s * -math.expm1(-6), of_amperes(I_s, 1e-6))
    anode.write(":SOUR:VOLT 0", ":OUTP OFF")
    for name in ("anode", "current"):
        links[name].clean(name)
    return math.log10(high / low)


def loading(links):
    """5 V behind 1 Mohm: a meter above 10 Gohm sees them, its 10 Mohm make 10/11 of it."""
    link, feed, lead = links["loading"], 1e6, 1
    for high, resistance in ((True, 1e10), (False, 1e7), (True, 1e10)):
        meter(link, 10, high)
        time.sleep(0.02)  # 1 Mohm x 1 pF is 1 us: whatever the relay does, it is over
        V = link.numbers("READ?")[0]
        near(
            "a meter above 10 Gohm" if high else "a meter's 10 Mohm load the node",
            V,
            5 * resistance / (resistance + lead + feed),
            of_meter(V, 10),
        )
    link.clean("loading")


def divider(links):
    """A source-meter behind 9 kohm : 1 kohm, 100 ohms and a lead; the node has a leak of 10 kohm to ground.
    Thevenin: a tenth behind 900 ohms."""
    tap, classic = links["tap"], links["classic"]
    source(tap, 1e-3, 1e-3)
    meter(classic, 0.1)
    load = 1 / (1 / 1e4 + 1 / 1e10)
    for level in (1.0, -0.4, 0.05):
        V, I, _ = reads(tap, level)
        time.sleep(0.02)  # (100 + 900) ohms x 0.1 uF is 0.1 ms
        node = classic.numbers("READ?")[0]
        near(
            "a divider in a source's line, loaded",
            node,
            V / 10 * load / (load + 900 + 100 + 1),
            of_volts(V, 2) / 10 + of_meter(node, 0.1),
        )
        below = 1 / (1 / 1e3 + 1 / (100 + 1 + load))
        near("what a divider draws", I, V / (9e3 + below), of_volts(V, 2) / 9e3 + of_amperes(I, 1e-3))
    tap.write(":SOUR:VOLT 0", ":OUTP OFF")
    for name in ("tap", "classic"):
        links[name].clean(name)


# A quantum dot of gamma = 20, a = 0.5, b = -0.8 between two reservoirs (Eqs. 15-17 at T = 1, d = 0), and
# 1 Mohm beside it: in kT and uA.
def dot_current(source_volts, drain_volts):
    s, t = source_volts / 0.1, drain_volts / 0.1
    level = 0.5 - 0.8 * (s - t)
    fermi = lambda x: 1 / (1 + math.exp(x))
    return 1e-6 * (20 * (fermi(level - s) - fermi(level - t)) + 0.1 * (s - t))


def dot_slope(volts, h=1e-5):
    return (dot_current(volts + h, 0) - dot_current(volts - h, 0)) / (2 * h)


def falling(low, high):
    """Where the closed form falls: its slope's changes of sign, by bisection."""
    regions, begun = [], low if dot_slope(low) < 0 else None
    grid = [low + (high - low) * i / 4000 for i in range(4001)]
    for a, b in zip(grid, grid[1:]):
        if (dot_slope(a) < 0) == (dot_slope(b) < 0):
            continue
        falls = dot_slope(b) < 0
        for _ in range(60):
            middle = (a + b) / 2
            a, b = (middle, b) if (dot_slope(middle) < 0) != falls else (a, middle)
        if falls:
            begun = b
        else:
            regions.append((begun, b))
            begun = None
    return regions + ([(begun, high)] if begun is not None else [])


def quantum_dot(links, resources):
    dot, drain, lead = links["dot"], links["drain"], 1
    source(dot, 1e-5, 1e-5)
    source(drain, 1e-5, 1e-5)
    for level in [-0.6 + 0.1 * i for i in range(15)]:
        V, I, _ = reads(dot, level)
        U, J, _ = reads(drain)
        s, t = V - lead * I, U - lead * J
        wanted = dot_current(s, t)
        error = of_volts(V, 2) + of_volts(U, 2)  # of each end, by the steeper of its slopes
        slope = (
            max(
                abs(dot_current(s + 1e-5, t) - dot_current(s - 1e-5, t)),
                abs(dot_current(s, t + 1e-5) - dot_current(s, t - 1e-5)),
            )
            / 2e-5
        )
        near("a quantum dot", I, wanted, slope * error + of_amperes(I, 1e-5))
        near("a quantum dot, at its drain", -J, wanted, slope * error + of_amperes(J, 1e-5))
    for name in ("dot", "drain"):
        links[name].write(":SOUR:VOLT 0", ":OUTP OFF")
        links[name].clean(name)
        links.pop(name).close()

    # ness sweep, over the same wires.
    ends = [
        "--set",
        f"instruments.dot.address={resources['dot']}",
        "--set",
        f"instruments.drain.address={resources['drain']}",
        "--set",
        f"emulation.seed={options.seed}",
    ]
    step, low, high = 0.02, -0.6, 0.8
    edge = [options.ness, "sweep", str(bench), "--from", "dot", "--to", "drain", "--readings", "4", *ends]
    command = [*edge, "--range", str(low), str(high), "--points", "71"]
    with tempfile.TemporaryDirectory() as directory:
        table = pathlib.Path(directory) / "dot.csv"
        done = subprocess.run(
            [*command, "--json", "--out", str(table)], capture_output=True, text=True, timeout=120
        )
        check("the sweep is done", done.returncode == 0, done.stderr)
        check("a row a point", len(table.read_text().splitlines()) == 72)
        said = subprocess.run([*command, "--out", str(table)], capture_output=True, text=True, timeout=120)
        check(
            "a table that exists is not overwritten",
            said.returncode == 2 and "not overwritten" in said.stderr,
            said.stderr,
        )
    swept = json.loads(done.stdout)
    check("safe afterwards", swept["safe"] and swept["status"] == "finished", swept["stuck"])
    for point in swept["points"]:
        # The sweep takes leads off by itself. Its voltage is a difference of two readings.
        error = of_volts(point["volts"], 2, 0.1) + of_volts(0, 2, 0.1)
        slope = max(
            abs(dot_slope(point["volts"])),
            abs(dot_current(point["volts"] + 5e-3, 5e-3) - dot_current(point["volts"] - 5e-3, -5e-3)) / 1e-2,
        )
        # The drain is at ground within its own error: the dot's absolute level counts with it.
        common = (
            abs(dot_current(point["volts"] + 1e-3, 1e-3) - dot_current(point["volts"], 0))
            / 1e-3
            * of_level(0, 2)
        )
        near(
            "ness sweep: a quantum dot",
            point["amperes"],
            dot_current(point["volts"], 0),
            slope * error + common + of_amperes(point["amperes"], 1e-5, 0.1),
        )
    found, wanted = [region["volts"] for region in swept["ndc"]], falling(low, high)
    check("as many NDC regions as the closed form has", len(found) == len(wanted) == 2, (found, wanted))
    for region, closed in zip(found, wanted):
        for end, where in zip(region, closed):
            near(
                "ness sweep: ends of NDC regions, in steps",
                end,
                where,
                step + of_volts(where, 2, 0.1) + of_volts(0, 2, 0.1),
            )
    check(
        "in kT too",
        all(
            abs(region["kT"][i] - region["volts"][i] / 0.1) < 1e-9 for region in swept["ndc"] for i in (0, 1)
        ),
        swept["ndc"],
    )
    check("the slopes are negative there", all(region["steepest"] < 0 for region in swept["ndc"]))
    emulated = json.loads(
        subprocess.run(
            [*command, "--json", "--device", "emulated"], capture_output=True, text=True, timeout=120
        ).stdout
    )
    check(
        "emulated in virtual time it is the same curve",
        len(emulated["ndc"]) == 2
        and all(
            abs(a - b) < 2 * step
            for one, other in zip(emulated["ndc"], swept["ndc"])
            for a, b in zip(one["volts"], other["volts"])
        ),
        emulated["ndc"],
    )

    # Stopped under way: safe, asked of the emulator on a link of its own.
    def is_off(why):
        for name in ("dot", "drain"):
            link = Link(resources[name])
            check(
                f"{name} is off and at 0 V after {why}",
                link.query(":OUTP?") == "0" and float(link.query(":SOUR:VOLT?")) == 0,
                name,
            )
            link.close()

    for stopping, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130)):
        running = subprocess.Popen(
            [*edge, "--json", "--range", str(low), str(high), "--points", "5001"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in running.stderr:
            if "/5001" in line:  # the first point is measured
                break
        running.send_signal(stopping)
        said, complaint = running.communicate(timeout=60)
        check(
            "a stopped sweep says so",
            running.returncode == code and json.loads(said)["status"] == "cancelled",
            (running.returncode, complaint),
        )
        check(
            "and keeps its points",
            0 < len(json.loads(said)["points"]) < 5001,
            len(json.loads(said)["points"]),
        )
        is_off(stopping.name)
    # A wrong instrument at the drain's address: found before anything is switched on.
    wrong = subprocess.run(
        [*command, "--set", f"instruments.drain.address={resources['classic']}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    check(
        "a wrong instrument is refused",
        wrong.returncode == 1 and "expected a Keithley 2400" in wrong.stderr,
        wrong.stderr,
    )
    is_off("a wrong instrument")
    beyond = subprocess.run([*edge, "--range", "0", "1.01"], capture_output=True, text=True, timeout=60)
    check(
        "a level beyond the limits is refused",
        beyond.returncode == 2 and "upper limit of 'dot'" in beyond.stderr,
        beyond.stderr,
    )
    # With 2 uA allowed the dot never gets over its peak of 4.7 uA: whatever the level, it stays where its
    # rising branch carries 2 uA.
    limited = json.loads(
        subprocess.run(
            [
                *edge,
                "--json",
                "--range",
                "0",
                "0.8",
                "--points",
                "41",
                "--set",
                "instruments.dot.compliance=2e-6",
            ],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    )
    a, b = 0.0, 0.1
    for _ in range(60):
        a, b = ((a + b) / 2, b) if dot_current((a + b) / 2, 0) < 2e-6 else (a, (a + b) / 2)
    check("compliance takes hold at 2 uA", 0 < a < 0.1 and dot_current(0.1, 0) > 2e-6, a)
    for point in limited["points"]:
        if abs(point["level"] - a) > of_level(a, 2) + of_level(0, 2):
            check("in compliance beyond", point["in_compliance"] == (point["level"] > a), point)
        if point["in_compliance"]:
            near("ness sweep: compliance", point["amperes"], 2e-6, of_amperes(2e-6, 1e-5, 0.1))
            near(
                "ness sweep: voltage reached in compliance",
                point["volts"],
                a,
                of_volts(a, 2, 0.1) + of_volts(0, 2, 0.1) + of_level(0, 2),
            )
            check(
                "a point in compliance has no slope", point.get("slope") is None and not point["ndc"], point
            )
    check("no NDC is seen in compliance", limited["ndc"] == [], limited["ndc"])


emulator = subprocess.Popen(
    [options.ness, "emulate", str(bench), "--json", "--set", f"emulation.seed={options.seed}"],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
)
try:
    resources = {}
    while (
        len(resources) < 11
    ):  # ten instruments and a controller; once a line is printed, its instrument listens
        line = emulator.stdout.readline()
        check("the emulator starts", line != "", emulator.poll())
        entry = json.loads(line)
        resources[entry["name"]] = entry["resource"]
    controller = resources.pop("GPIB0")
    links = {
        name: Link(resource, controller if resource.startswith("GPIB") else None)
        for name, resource in resources.items()
    }
    ohm(links)
    compliance(links)
    decades = diode(links)
    loading(links)
    divider(links)
    quantum_dot(links, resources)
finally:
    emulator.send_signal(signal.SIGINT)
    emulator.communicate(timeout=30)
if options.json:
    print(
        json.dumps({"seed": options.seed, "decades": decades, "worst": max(worst.values()), "shares": worst})
    )
else:
    for what, share in worst.items():
        print(f"{share:6.2f} of the accuracy: {what}")
    print(
        f"physics through the wire: {len(worst)} laws, a diode over {decades:.1f} decades; "
        f"at worst {max(worst.values()):.2f} of the instruments' accuracy"
    )
