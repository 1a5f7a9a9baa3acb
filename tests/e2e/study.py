#!/usr/bin/env python3
"""Several processes work on one search.

    study.py LOWRANK [--trials N] [--optuna PYTHON] [--dashboard OPTUNA-DASHBOARD]

On the example model: a sweep of N trials (12) on four processes of which two are killed gives N distinct results; the same command again has
nothing to do, and goes on where more trials are asked for; folds shared out among processes are those of one; a study of something
else is refused. Groups of ranks that work on each trial together have the losses of one process, and a trial of a group that lost a rank
is given out again. With --optuna (a Python that has PyPI's optuna): Optuna loads the study, suggests its next trial, runs one itself and
puts one into the queue, which a process then takes. With --dashboard (PyPI's command of that name) it serves the study.
"""
import argparse
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from ranks import AGAIN, Ranks, apart, check, free_port, launchers


class Search(Ranks):
    trials_of_all = 12

    def sweep(self, out, *options, trials=None):
        trials = trials or self.trials_of_all
        space = self.work / "space.yaml"
        if not space.exists():
            space.write_text("lr: {log: [1e-4, 1e-2]}\nrank: {choice: [1, 2, 4]}\nalpha: {log: [1, 64]}\ndropout: {uniform: [0, 0.3]}\n")
        return ["sweep", str(space), str(self.base), "--data", str(self.data), "--out", str(self.work / out), "--trials", str(trials),
                "--dtype", "float32", "--max-steps", "12", "--batch-size", "2", "--save-every", "3", "--eval-every", "3", "--val-split", "0.1",
                "--sampler", "random", "--seed", "5", "--threads", "1", *map(str, options)]

    def start(self, arguments, **environment):
        return subprocess.Popen([self.lowrank, *arguments], env={**self.environment, **environment}, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def trials(self, out):
        return [json.loads(line) for line in open(self.work / out / "trials.jsonl", encoding="utf-8")]


def wait_for(what, holds, processes):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if holds():
            return
        if any(process.poll() is not None for process in processes):
            sys.exit(f"{what}: a process ended early: " + "".join("".join(p.communicate()) for p in processes if p.poll() is not None))
        time.sleep(0.01)
    sys.exit(f"{what} did not come")


def killed(r):
    """Four ranks, two of which die in the middle of a trial."""
    count = r.trials_of_all
    processes = r.by_hand(r.sweep("killed"), 4)
    victims = {processes[1], processes[3]}

    def kill_who_is_at_work():
        for process in list(victims):
            locks = r.work.glob("killed/trials/*/.lowrank.lock")
            if any(text_of(lock) == str(process.pid) and list((lock.parent / "checkpoints").glob("checkpoint-*")) for lock in locks):
                process.send_signal(signal.SIGKILL)
                process.communicate()
                victims.remove(process)
        return not victims

    wait_for("a checkpoint of a rank's trial", kill_who_is_at_work, victims)
    said, errors = r.finish("killed", [processes[0], processes[2]])
    trials = r.trials("killed")
    check(f"{count} trials on four ranks, two of them killed: {count} results", [t["trial"] for t in trials] == list(range(count)) and
          all(t["state"] == "complete" and t["steps"] == 12 for t in trials), errors.strip()[:200])
    check("of as many distinct options", len({json.dumps(t["options"]) for t in trials}) == count)
    check("rank 0 alone speaks, and of all trials", said.count("  complete  ") == count and "rank 0 of 4" in said)
    best = json.load(open(r.work / "killed" / "best.json"))
    check("best.json is the best of all", best["value"] == min(t["value"] for t in trials) == trials[best["trial"]]["value"])
    r.finish("alone", [r.start(r.sweep("alone"))])
    check("each result is that of one process alone", r.trials("alone") == trials)

    said, _ = r.finish("killed", [r.start(r.sweep("killed", "--storage", f"sqlite:///{r.work}/killed/study.db"))])
    check("the same again has nothing to do", said.count("  complete  ") == count and r.trials("killed") == trials)
    r.finish("killed", r.by_hand(r.sweep("killed", trials=count + 2), 2))
    check("more trials may be asked for", r.trials("killed")[:count] == trials and len(r.trials("killed")) == count + 2)
    _, errors = r.finish("killed", r.by_hand(r.sweep("killed", "--batch-size", "3"), 2), expect=2)
    check("another search is refused by name", "--batch-size" in errors)


def text_of(file):
    try:
        return file.read_text().strip()
    except OSError:  # the lock has just gone
        return ""


def again(r):
    """The command that runs the best again is for any machine."""
    arguments = r.sweep("again", trials=2)
    at = arguments.index("--threads")
    r.finish("again", r.by_hand(arguments[:at] + arguments[at + 2:], 2))
    command = json.load(open(r.work / "again" / "best.json"))["command"]
    check("the best runs again on whatever cores there are", "--threads" not in command and "--storage" not in command, command)


def stopped(r):
    storage = ("--storage", f"sqlite:///{r.work}/both.db", "--study-name", "stopped")
    process = r.start(r.sweep("stopped", *storage, trials=3))
    wait_for("a checkpoint", lambda: (r.work / "stopped/trials/trial-0000/checkpoints/checkpoint-3").exists(), [process])
    process.send_signal(signal.SIGTERM)
    said, _ = r.finish("stopped", [process], expect=143)
    check("a signal stops it in its trial", "stopped in trial" in said)
    r.finish("stopped", [r.start(r.sweep("stopped", *storage, trials=3)) for _ in range(2)])
    check("which any process goes on with at once", [t["value"] for t in r.trials("stopped")] == [t["value"] for t in r.trials("alone")[:3]])


def waiting(r):
    """A process that has nothing to do but to wait for a trial of another ends by a signal too."""
    storage = ("--storage", f"sqlite:///{r.work}/both.db", "--study-name", "waiting")
    frozen = r.start(r.sweep("waiting", *storage, trials=1))
    wait_for("a checkpoint", lambda: (r.work / "waiting/trials/trial-0000/checkpoints/checkpoint-3").exists(), [frozen])
    frozen.send_signal(signal.SIGSTOP)
    process = r.start(r.sweep("waiting", *storage, trials=1))
    lines = []
    while not any("waiting for trial 0" in line for line in lines):
        lines.append(process.stdout.readline())
        if not lines[-1]:
            sys.exit("waiting: the process ended early: " + "".join(lines))
    time.sleep(1)  # in which it looks for the trial a few times
    process.send_signal(signal.SIGTERM)
    said, _ = r.finish("waiting", [process], expect=143, seconds=20)
    check("a signal ends a process that waits for others", "stopped while others work on the last trials" in said)
    frozen.send_signal(signal.SIGCONT)
    r.finish("waiting", [frozen])


def groups(r):
    """Four ranks in groups of two, of which one loses a rank that is not its first."""
    count, together = 6, ("--ranks-per-trial", 2)
    arguments = r.sweep("groups", *together, "--rank-timeout", 5, trials=count)
    at = arguments.index("--threads")
    processes = r.by_hand(arguments[:at] + arguments[at + 2:], 4)

    def first_of_second_group_is_at_work():
        locks = [lock for lock in r.work.glob("groups/trials/*/.lowrank.lock") if text_of(lock) == str(processes[2].pid)]
        return any(list((lock.parent / "checkpoints").glob("checkpoint-*")) for lock in locks)

    wait_for("a checkpoint of the second group's trial", first_of_second_group_is_at_work, processes)
    processes[3].send_signal(signal.SIGKILL)
    processes[3].communicate()
    _, errors = r.finish("groups", [processes[2]], expect=AGAIN)
    check("the rank that was killed is named by its number among all", f"rank 3 ({socket.gethostname()}, pid {processes[3].pid}) has ended" in errors and
          "what it worked on is given out again" in errors and errors.count("error:") == 1, errors.strip()[:200])
    said, _ = r.finish("groups", processes[:2])
    trials = r.trials("groups")
    check("six trials on two groups, one of which lost a rank: six results of as many distinct options", said.count("  complete  ") == count and
          [t["trial"] for t in trials] == list(range(count)) and all(t["state"] == "complete" and t["steps"] == 12 for t in trials) and
          len({json.dumps(t["options"]) for t in trials}) == count)
    check("rank 0 says how they work, and shares out the threads of all", "each 2 have runs of their own" in said and
          "for each of the 4 ranks on this machine" in said and "rank 1 of 4" not in said)

    r.finish("groups-one", [r.start(r.sweep("groups-one", "--grad-accum", 2, trials=count))])
    one = r.trials("groups-one")
    check("with the options of one process", [t["options"] for t in trials] == [t["options"] for t in one])
    worst = max(apart(r.losses(f"groups-one/trials/trial-{i:04}"), r.losses(f"groups/trials/trial-{i:04}")) for i in range(count))
    worst = max(worst, apart([t["value"] for t in one], [t["value"] for t in trials]))
    check("the losses of each are those of one process with --grad-accum 2", worst <= 1e-5, f"{worst:.1e}")
    commands = [json.load(open(r.work / out / "best.json"))["command"] for out in ("groups", "groups-one")]
    check("and the command that runs the best again is for one process", all("--grad-accum 2" in command for command in commands) and
          "--ranks-per-trial" not in commands[0], commands[0])

    _, errors = r.finish("groups", r.by_hand(r.sweep("groups", trials=count), 2), expect=2)
    check("ranks that work in another way are refused", "--ranks-per-trial" in errors, errors.strip()[:200])
    _, errors = r.finish("odd", r.by_hand(r.sweep("odd", "--ranks-per-trial", 3), 4), expect=2)
    check("a number that does not divide the ranks is refused in one sentence", "--ranks-per-trial: 3 does not divide the 4 ranks" in errors and
          len({line for line in errors.splitlines() if "error:" in line}) == 1, errors.strip()[:200])
    _, errors = r.finish("lonely", [r.start(r.sweep("lonely", *together))], expect=2)
    check("without a launcher it says how to start", "this process is alone" in errors and "with mpirun, srun or torchrun" in errors, errors.strip()[:200])

    r.one("groups-folds-one", "--folds", 4, "--grad-accum", 2)
    storage = ("--storage", f"sqlite:///{r.work}/both.db")
    r.finish("groups-folds", r.by_hand(r.arguments("groups-folds", "--folds", 4, *together, *storage), 4))
    runs = [json.load(open(r.work / out / "run.json")) for out in ("groups-folds-one", "groups-folds")]
    losses = [[loss["loss"] for one in run["runs"] for loss in one["after"]] for run in runs]
    check("four folds on two groups have the losses of one process", runs[1]["finished"] and len(losses[0]) >= 4 and apart(*losses) <= 1e-5, f"{apart(*losses):.1e}")
    _, errors = r.finish("unshared", r.by_hand(r.arguments("unshared", "--folds", 4, *together), 4), expect=2)
    check("folds are shared out among groups by a study alone", "--ranks-per-trial: goes with --storage" in errors, errors.strip()[:200])

    processes = r.by_hand(r.sweep("halted", *together, trials=4), 4)
    wait_for("a checkpoint of each group", lambda: all(list(r.work.glob(f"halted/trials/trial-000{i}/checkpoints/checkpoint-*")) for i in (0, 1)),
             processes)
    for process in processes[1::2]:  # not to those that have the trials
        process.send_signal(signal.SIGTERM)
    said, _ = r.finish("halted", processes, expect=143)
    check("a signal to any rank stops its group in the trial", "stopped in trial" in said)
    name, start = list(launchers(r))[-1]
    r.finish("halted", start(r.sweep("halted", *together, "--shard-base", "always", trials=4), 4))
    worst = apart([t["value"] for t in one[:4]], [t["value"] for t in r.trials("halted")])
    check(f"which groups go on with that hold the base together, started by {name}", worst <= 1e-5, f"{worst:.1e}")


def folds(r):
    storage = ("--storage", f"sqlite:///{r.work}/both.db")
    r.one("folds-one", "--folds", 4)
    arguments = r.arguments("folds", "--folds", 4, *storage)
    r.finish("folds", [r.start(arguments), r.start(arguments)])
    one, two = (json.load(open(r.work / out / "run.json")) for out in ("folds-one", "folds"))
    check("four folds on two processes: the mean of one", two["finished"] and one["summary"] == two["summary"], json.dumps(two["summary"]["validation"]))
    check("and the same adapters", all(r.digest(f"folds/fold-{i}") == r.digest(f"folds-one/fold-{i}") for i in (1, 2, 3, 4)))
    r.one("single", *storage, expect=2)


OPTUNA = """
import json, sys, warnings
import optuna
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.simplefilter("error", UserWarning)
storage, trials = sys.argv[1], [json.loads(line) for line in open(sys.argv[2])]
study = optuna.load_study(study_name="killed", storage=storage)
assert len(study.trials) == len(trials), len(study.trials)
for ours, theirs in zip(trials, study.trials):
    assert theirs.state == optuna.trial.TrialState.COMPLETE and theirs.value == ours["value"] and theirs.params == ours["options"], (ours, theirs)
    assert theirs.intermediate_values and min(theirs.intermediate_values.values()) == ours["value"], theirs.intermediate_values
    assert theirs.datetime_complete > theirs.datetime_start
assert study.best_trial.number == min(trials, key=lambda t: t["value"])["trial"]
assert study.direction == optuna.study.StudyDirection.MINIMIZE
space = optuna.search_space.intersection_search_space(study.trials)
assert set(space) == {"lr", "rank", "alpha", "dropout"}, space
trial = study.ask()
options = {"lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True), "rank": trial.suggest_categorical("rank", [1, 2, 4]),
           "alpha": trial.suggest_float("alpha", 1, 64, log=True), "dropout": trial.suggest_float("dropout", 0, 0.3)}
study.tell(trial, 99.0)
study.enqueue_trial({"lr": 0.002, "rank": 2})
print(json.dumps({"number": trial.number, "options": options}))
"""


def optuna(r, python):
    storage = f"sqlite:///{r.work}/killed/study.db"
    done = subprocess.run([python, "-c", OPTUNA, storage, str(r.work / "killed" / "trials.jsonl")], capture_output=True, text=True)
    check("Optuna loads the study, suggests a trial, and tells of it", done.returncode == 0, (done.stdout + done.stderr).strip()[-800:])
    told = json.loads(done.stdout)
    r.finish("killed", [r.start(r.sweep("killed", "--storage", storage, trials=r.trials_of_all + 4))])
    trials = r.trials("killed")
    check("its trial is among ours", trials[told["number"]]["options"] == told["options"] and trials[told["number"]]["value"] == 99)
    queued = trials[told["number"] + 1]
    check("what it put into the queue is run", queued["state"] == "complete" and queued["options"]["lr"] == 0.002 and queued["options"]["rank"] == 2)


def dashboard(r, command):
    """optuna-dashboard (PyPI) serves the study."""
    storage, port = f"sqlite:///{r.work}/killed/study.db", free_port()
    process = subprocess.Popen([command, storage, "--port", str(port), "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.read().decode()

    try:
        until = time.monotonic() + 60
        while True:
            try:
                studies = json.loads(get("/api/studies"))["study_summaries"]
                break
            except OSError:
                if time.monotonic() > until:
                    sys.exit("optuna-dashboard does not answer")
                time.sleep(0.2)
        study = next(one for one in studies if one["study_name"] == "killed")
        shown, trials = json.loads(get(f"/api/studies/{study['study_id']}")), r.trials("killed")
        check("optuna-dashboard serves the study: its page, and the values and options of all trials", "<title>" in get("/dashboard/") and
              [(t["state"], t["values"]) for t in shown["trials"]] == [("Complete", [t["value"]]) for t in trials] and
              all(len(t["params"]) == len(ours["options"]) for t, ours in zip(shown["trials"], trials)), f"{len(trials)} trials")
    finally:
        process.terminate()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowrank", type=pathlib.Path)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--optuna", metavar="PYTHON")
    parser.add_argument("--dashboard", metavar="OPTUNA-DASHBOARD")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        r = Search(asked.lowrank.resolve(), pathlib.Path(work), None)
        r.trials_of_all = asked.trials
        if not has_sqlite(r):
            print("study.py: this build has no SQLite (libsqlite3-dev): passed over")
            return
        killed(r)
        again(r)
        stopped(r)
        waiting(r)
        groups(r)
        folds(r)
        if asked.optuna:
            optuna(r, asked.optuna)
        if asked.dashboard:
            dashboard(r, asked.dashboard)


def has_sqlite(r):
    ends = subprocess.run([r.lowrank, *r.sweep("none", "--storage", f"sqlite:///{r.work}/none.db", trials=1)], env=r.environment,
                          capture_output=True, text=True)
    return "no SQLite" not in ends.stderr


if __name__ == "__main__":
    main()
