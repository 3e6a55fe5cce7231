"""Compares `ness solve` with 50-digit arithmetic where parameters span 30 decades.

   extremes.py NESS [--networks N] [--seed S]

kT, T, gamma, conductances, capacities, c_ref, mu0, K's, levels, references and starts are drawn over
decades, about the scale on which they act; the structure is such that the steady state is unique: dots
with -1 <= b <= 0 out of clamped nodes and b = 0 between free ones, linear conductors, enzymes without
inhibition between free nodes and with it out of clamped ones. So every relaxation that comes to rest ends
at the one root, which Newton's method in 50 digits finds from what was printed (and from elsewhere, where
that is wrong). Right: within 1e-12 of kT or of the largest potential, and what rounding of the currents
makes of the state at the conductance there. Any other answer but "not converged" and "diverged" is wrong;
null and NaN are wrong. The exit code is 1 if one is wrong, or fewer than 99 % are right.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import random
import subprocess
import sys
import tempfile

from mpmath import mp, mpf, matrix, lu_solve, exp, fabs

mp.dps = 50


def draw(rng):
    decades = rng.choice([1, 4, 10, 15])
    d = lambda s=decades: 10 ** rng.uniform(-s, s)
    kT = d()
    sign = lambda: rng.choice([-1, 1])
    # Most potentials are within hundreds of kT, where all laws act; some are far out.
    level = lambda: sign() * kT * 10 ** rng.uniform(-2, rng.choice([1, 2.5, 4, 6]))
    kind = rng.choice(["dots", "enzymes", "mixed"])
    inputs, free = rng.randint(1, 2), rng.randint(1, 3)
    used_T = kind == "dots"
    nodes = [
        {"clamped": True, "mu0": level() if kind != "dots" and rng.random() < 0.5 else 0}
        for _ in range(inputs)
    ]
    current = d()
    for _ in range(free):
        nodes.append(
            {
                "g": current / kT * 10 ** rng.uniform(-3, 1),
                "mu_ref": level(),
                "capacity": d(),
                "mu_init": level() if rng.random() < 0.5 else 0,
                "mu0": level() if kind != "dots" and rng.random() < 0.5 else 0,
            }
        )
    if used_T:
        for n in nodes:
            n["T"] = 10 ** rng.uniform(-1, 1) if rng.random() < 0.5 else 1
    edges = []

    def edge(s, t):
        from_clamped = s < inputs
        law = {
            "dots": lambda: "quantum-dot",
            "enzymes": lambda: "enzyme",
            "mixed": lambda: rng.choice(["linear", "quantum-dot", "enzyme"]),
        }[kind]()
        e = {"source": s, "target": t, "law": law}
        if law == "linear":
            e["G"] = current / kT * 10 ** rng.uniform(-3, 3)
        elif law == "quantum-dot":
            e.update(
                gamma=current * 10 ** rng.uniform(-6, 6),
                a=level(),
                b=-rng.random() if from_clamped and rng.random() < 0.7 else 0,
            )
        else:
            c_ref_scale = 10 ** rng.uniform(-decades, decades)
            e.update(
                Vf=current * 10 ** rng.uniform(-6, 6),
                Ka=c_ref_scale * 10 ** rng.uniform(-2, 2),
                Kb=c_ref_scale * 10 ** rng.uniform(-2, 2),
            )
            if from_clamped and rng.random() < 0.6:
                e["Ki"] = d()
        edges.append(e)

    for t in range(inputs, inputs + free):
        edge(rng.randrange(t), t)
    for _ in range(rng.randint(0, 2)):
        t = rng.randrange(inputs, inputs + free)
        s = rng.randrange(inputs)
        edge(s, t)
    return {
        "nodes": nodes,
        "edges": edges,
        "outputs": [inputs],
        "kT": kT,
        "c_ref": d(),
    }, [level() for _ in range(inputs)]


class Equations:
    def __init__(self, d, clamp):
        self.d = d
        self.kT, self.c_ref = mpf(d["kT"]), mpf(d["c_ref"])
        self.free = [k for k, n in enumerate(d["nodes"]) if not n.get("clamped")]
        self.level = dict(zip([k for k, n in enumerate(d["nodes"]) if n.get("clamped")], map(mpf, clamp)))

    def edge(self, e, x, y):
        """The current, and its derivatives by the potentials of source and target."""
        nodes, kT = self.d["nodes"], self.kT
        if e["law"] == "linear":
            G = mpf(e["G"])
            return G * (x - y), G, -G
        if e["law"] == "quantum-dot":
            gamma, a, b = mpf(e["gamma"]), mpf(e["a"]), mpf(e["b"])
            Ts, Tt = kT * mpf(nodes[e["source"]].get("T", 1)), kT * mpf(nodes[e["target"]].get("T", 1))
            level = a + b * (x - y)

            def fermi(u):
                if u > 10**7:
                    return mpf(0), mpf(0)
                if u < -(10**7):
                    return mpf(1), mpf(0)
                f, h = 1 / (1 + exp(u)), 1 / (1 + exp(-u))
                return f, f * h

            fs, ps = fermi((level - x) / Ts)
            ft, pt = fermi((level - y) / Tt)
            return (
                gamma * (fs - ft),
                gamma * (-ps * (b - 1) / Ts + pt * b / Tt),
                gamma * (ps * b / Ts - pt * (b + 1) / Tt),
            )
        Vf, Ka, Kb = mpf(e["Vf"]), mpf(e["Ka"]), mpf(e["Kb"])
        mu0s, mu0t = mpf(nodes[e["source"]].get("mu0", 0)), mpf(nodes[e["target"]].get("mu0", 0))
        cs, ct = self.c_ref * exp((x - mu0s) / kT), self.c_ref * exp((y - mu0t) / kT)
        inhibited = cs * cs / (Ka * mpf(e["Ki"])) if "Ki" in e else mpf(0)
        D = 1 + cs / Ka + ct / Kb + inhibited
        back = self.c_ref * exp((y - mu0s) / kT)
        I = Vf / Ka * (cs - back) / D
        return (
            I,
            (Vf / Ka * cs - I * (cs / Ka + 2 * inhibited)) / D / kT,
            -(Vf / Ka * back + I * ct / Kb) / D / kT,
        )

    def balance(self, potential):
        """F, dI/dmu and the sum of the magnitudes of the currents of each free node."""
        place = {k: i for i, k in enumerate(self.free)}
        mu = dict(self.level)
        mu.update(zip(self.free, potential))
        n = len(self.free)
        F, J, size = [mpf(0)] * n, matrix(n, n), [mpf(0)] * n
        for i, k in enumerate(self.free):
            node = self.d["nodes"][k]
            g, ref = mpf(node["g"]), mpf(node["mu_ref"])
            F[i] -= g * (mu[k] - ref)
            size[i] += g * (fabs(mu[k]) + fabs(ref))
            J[i, i] += g
        for e in self.d["edges"]:
            s, t = e["source"], e["target"]
            I, by_s, by_t = self.edge(e, mu[s], mu[t])
            # What rounding makes of the current: of the potentials, the levels and the exponentials.
            far = fabs(mu[s]) + fabs(mu[t]) + self.kT + fabs(mpf(e.get("a", 0)))
            slack = fabs(I) + (fabs(by_s) + fabs(by_t)) * far
            for end, sign in ((s, -1), (t, 1)):
                if end not in place:
                    continue
                i = place[end]
                F[i] += sign * I
                size[i] += slack
                for other, by in ((s, by_s), (t, by_t)):
                    if other in place:
                        J[i, place[other]] -= sign * by
        return F, J, size


def root_near(equations, start):
    """The root by Newton's method with steps of at most some kT; None where it is not found."""
    x = [mpf(v) for v in start]
    longest = 3 * equations.kT
    for _ in range(300):
        F, J, _ = equations.balance(x)
        try:
            step = lu_solve(J, matrix(F))
        except ZeroDivisionError:
            return None
        size = max(fabs(v) for v in step)
        scale = min(mpf(1), longest / size) if size > 0 else mpf(1)
        if scale == 1:
            longest *= 4
        x = [a + scale * b for a, b in zip(x, step)]
        if size <= mpf(10) ** -40 * max(equations.kT, max(fabs(v) for v in x)):
            return x
    return None


def judge(ness, seed, folder):
    description, clamp = draw(random.Random(seed))
    file = folder / f"{seed}.json"
    file.write_text(json.dumps(description))
    done = subprocess.run(
        [ness, "solve", file, "--clamp=" + ",".join(map(repr, clamp)), "--json"],
        capture_output=True,
        text=True,
    )
    if not done.stdout.strip():
        return seed, "no answer", done.stderr.strip()[-200:]
    if "null" in done.stdout or "nan" in done.stdout.lower():
        return seed, "null", done.stdout[:300]
    answer = json.loads(done.stdout)
    if answer["status"] != "converged":
        return seed, answer["status"], ""
    equations = Equations(description, clamp)
    found = [answer["potentials"][k] for k in equations.free]
    root = root_near(equations, found)
    if root is None:
        return seed, "no root", ""
    F, J, size = equations.balance(root)
    allowed = mpf(0)
    inverse = J**-1
    for i in range(len(found)):
        by_rounding = sum(fabs(inverse[i, j]) * size[j] for j in range(len(found)))
        allowed = max(
            1e-12 * max(equations.kT, max(fabs(v) for v in root)), 16 * mpf(2) ** -53 * by_rounding, allowed
        )
    apart = max(fabs(a - b) for a, b in zip(root, found))
    if apart <= allowed:
        return seed, "right", ""
    return (
        seed,
        "wrong",
        f"off by {mp.nstr(apart / equations.kT, 5)} kT, allowed {mp.nstr(allowed / equations.kT, 5)} kT",
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ness")
    parser.add_argument("--networks", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    counts = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="ness-extremes-") as scratch:
        folder = arguments.keep or pathlib.Path(scratch)
        folder.mkdir(exist_ok=True)
        with concurrent.futures.ProcessPoolExecutor() as pool:
            jobs = [
                pool.submit(judge, arguments.ness, arguments.seed + i, folder)
                for i in range(arguments.networks)
            ]
            for job in jobs:
                seed, what, why = job.result()
                counts[what] += 1
                if what != "right":
                    print(f"network {seed}: {what} {why}")
    print(json.dumps(counts))
    wrong = sum(counts[what] for what in ("wrong", "null", "no answer", "limit_cycle"))
    return 0 if wrong == 0 and counts["right"] >= 0.99 * arguments.networks else 1


if __name__ == "__main__":
    sys.exit(main())
