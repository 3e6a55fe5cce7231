"""Rows of the log: processes killed at random moments, replays."""
import json
import random
import signal
import subprocess
import time

from figures import FIRST_SEED, count, experiments, of_all, python, root, sets, spread


def log(bars):
    kills = 100
    passed, said = bars.script(root / "tests/core/record/kill/log_kill.py", bars.tests / "log_victim", kills)
    bars.report(
        "log",
        "acknowledged",
        f"{kills} SIGKILLs of a process that acknowledges rows",
        "every file opens, every acknowledged row is whole",
        [of_all("programs that pass", int(passed), 1, "programs")],
        passed,
        said[:200],
    )
    # The same of a real training run, which commits every 64 rows, looked at by `ness inspect` and by h5py.
    rng, rows, opened, replayed, wrong = random.Random(FIRST_SEED), [], 0, 0, []
    endless = ("training.target_loss=0", "training.epochs=1000000", "log.group_rows=64")
    for i in range(kills):
        path = bars.scratch / f"killed-{i}.h5"
        train = subprocess.Popen(
            [str(bars.ness), "train", str(experiments / "xor.toml"), "--log", str(path), *sets(endless)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=root,
        )
        deadline = time.time() + 20
        while not path.exists() and time.time() < deadline and train.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.4))
        train.send_signal(signal.SIGKILL)
        train.wait()
        looked = bars.run(bars.ness, "inspect", path, "--json", check=False)
        counted = json.loads(looked.stdout) if looked.returncode == 0 else None
        if counted is None or counted["damaged_rows"]:
            wrong.append(f"kill {i}: {(looked.stderr or looked.stdout).strip()[:120]}")
            continue
        opened += 1
        h5py = bars.run(
            python,
            "-c",
            "import h5py,sys; f = h5py.File(sys.argv[1], 'r', locking=False); "
            "n = int(f['/committed'][0]); "
            "assert f['/entry/relaxations/potential'][:n].shape[0] == n; print(n)",
            path,
            check=False,
        )
        if h5py.returncode != 0 or int(h5py.stdout) != counted["rows"]:
            wrong.append(f"kill {i}: h5py: {h5py.stderr.strip()[-120:]}")
        else:
            rows.append(counted["rows"])
        replayed += bars.run(bars.ness, "replay", path, check=False).returncode == 0
        path.unlink()
    bars.report(
        "log",
        "training",
        "SIGKILLs of a training run at random moments",
        "every file opens, every counted row is whole, every run replays bit for bit",
        [
            count("files open", opened, kills, "kills"),
            count("with all counted rows whole", len(rows), kills, "kills"),
            count("replay bit for bit", replayed, kills, "kills"),
            spread("rows of a file", rows or [0], ",.0f", of="files"),
        ],
        opened == kills and replayed == kills and not wrong,
        "; ".join(wrong[:3]),
    )


def replay(bars):
    for name, shorter in (
        ("xor", ()),
        ("regression-quantum-dot", ("training.epochs=2000",)),
        ("mnist", ("training.epochs=2",)),
    ):
        path = bars.scratch / f"replay-{name}.h5"
        bars.train(f"{name}.toml", path, *shorter)
        for threads in (1, 2):
            done = bars.run(bars.ness, "replay", path, "--threads", threads, "--json", check=False)
            report = json.loads(done.stdout) if done.returncode == 0 else {}
            bars.report(
                "replay",
                f"{name}-{threads}",
                f"{name} {' '.join(shorter)}, replayed with {threads} thread{'s' if threads > 1 else ''}",
                "bit-equal",
                [of_all("runs bit-equal", int(done.returncode == 0), 1, "runs")]
                + [
                    spread(key, [report[key]], ",.0f", of="runs")
                    for key in ("steps", "rows")
                    if key in report
                ],
                done.returncode == 0,
                "" if done.returncode == 0 else done.stderr.strip()[:160],
            )
        path.unlink()
