#!/usr/bin/env python3
"""Ranks on hosts of their own: network namespaces of this machine, with names, joined by a bridge. Run by hand, as root.

    ranks_hosts.py LOWRANK [--torchrun PATH] [--faults N] [--seed S]

2 and 4 hosts with a process each, started by hand, by mpirun and by torchrun --no-python: the losses of one rank and the same bytes
twice; the same over a link of 10 Mbit/s with 50 ms; folds on two groups of two hosts. Then N faults at random moments, in turn: a rank killed with -9, a rank frozen
with -STOP, the link of a host cut. Each time: one sentence that names the rank, in time; a valid checkpoint or none; and a resumed
run that ends as one that nothing happened to.
"""
import argparse
import ctypes
import fcntl
import json
import os
import pathlib
import queue
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import ranks as e2e  # noqa: E402
from ranks import check  # noqa: E402

BRIDGE, NET, PORT, HOSTS = "lrbridge", "10.77.0", 29511, 4


def sh(*words, expect=0):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if expect is not None and done.returncode != expect:
        sys.exit(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done.stdout


class Network:
    def __enter__(self):
        self.__exit__()
        sh("ip", "link", "add", BRIDGE, "type", "bridge")
        sh("ip", "link", "set", BRIDGE, "up")
        for i in range(HOSTS):
            name = f"lrnode{i}"
            sh("ip", "netns", "add", name)
            sh("ip", "link", "add", f"lrveth{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            sh("ip", "link", "set", f"lrveth{i}", "master", BRIDGE, "up")
            sh("ip", "-n", name, "addr", "add", f"{NET}.{i + 1}/24", "dev", "eth0")
            sh("ip", "-n", name, "link", "set", "eth0", "up")
            sh("ip", "-n", name, "link", "set", "lo", "up")
            folder = pathlib.Path("/etc/netns") / name
            folder.mkdir(parents=True, exist_ok=True)
            hosts = "127.0.0.1 localhost\n" + "".join(f"{NET}.{k + 1} lrnode{k}\n" for k in range(HOSTS))
            (folder / "hosts").write_text(hosts)
        return self

    def __exit__(self, *_):
        for i in range(HOSTS):
            sh("ip", "netns", "del", f"lrnode{i}", expect=None)
            sh("rm", "-rf", f"/etc/netns/lrnode{i}")
            sh("ip", "link", "del", f"lrveth{i}", expect=None)
        sh("ip", "link", "del", BRIDGE, expect=None)

    def cut(self, i):
        sh("ip", "link", "set", f"lrveth{i}", "down")

    def mend(self, i):
        sh("ip", "link", "set", f"lrveth{i}", "up")


class SlowLink:
    """Hosts 0 and 1 over a link of their own that carries `bits` a second each way and takes `delay` seconds: two tun devices and a
    thread a direction between them, as netem would do it where the kernel has it."""

    def __init__(self, bits=10e6, delay=0.05):
        self.ends = [self.device(i) for i in (0, 1)]
        for i in (0, 1):
            sh("ip", "-n", f"lrnode{i}", "addr", "add", f"10.78.0.{i + 1}/24", "dev", "lrslow")
            sh("ip", "-n", f"lrnode{i}", "link", "set", "lrslow", "up", "mtu", "1400")
        for one, other in (self.ends, self.ends[::-1]):
            packets = queue.Queue()
            threading.Thread(target=self.take, args=(one, packets, bits, delay), daemon=True).start()
            threading.Thread(target=self.give, args=(other, packets), daemon=True).start()

    @staticmethod
    def device(i):
        libc = ctypes.CDLL(None, use_errno=True)
        made = []

        def make():  # a thread of its own: it stays in the host's network
            with open(f"/run/netns/lrnode{i}") as place:
                if libc.setns(place.fileno(), 0x40000000) != 0:
                    return
            fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"lrslow", 0x0001 | 0x1000))
            made.append(fd)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    @staticmethod
    def take(fd, packets, bits, delay):
        free = 0.0  # when the link has sent what it was given
        while True:
            packet = os.read(fd, 2048)
            now = time.monotonic()
            if free - now > 0.5:
                continue  # the queue of the link is full
            free = max(free, now) + 8 * len(packet) / bits
            packets.put((free + delay, packet))

    @staticmethod
    def give(fd, packets):
        while True:
            due, packet = packets.get()
            time.sleep(max(0.0, due - time.monotonic()))
            os.write(fd, packet)


def on_host(i, words):
    """`words` on a host, under its name; what is started is the command itself, so that it can be killed."""
    return ["ip", "netns", "exec", f"lrnode{i}", "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', f"lrnode{i}", *map(str, words)]


def popen(words, environment):
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Hosts(e2e.Ranks):
    master = "lrnode0"

    def by_hand(self, arguments, ranks, environments=None):
        started = []
        for rank in range(ranks):
            more = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": self.master,
                    "MASTER_PORT": str(PORT)}
            started.append(popen(on_host(rank, [self.lowrank, *arguments]), {**self.environment, **more}))
        return started

    def by_mpirun(self, arguments, ranks):
        agent = self.work / "agent.sh"
        agent.write_text('#!/bin/sh\nhost=$1\nshift\nexec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"\n')
        agent.chmod(0o755)
        names = ",".join(f"lrnode{i}" for i in range(ranks))
        words = ["mpirun", "--allow-run-as-root", "--bind-to", "none", "--mca", "plm_rsh_agent", agent, "--mca", "btl", "tcp,self",
                 "--mca", "btl_tcp_if_include", "eth0", "--mca", "oob_tcp_if_include", "eth0", "--host", names, "-n", str(ranks),
                 self.lowrank, *arguments]
        return [popen(on_host(0, words), self.environment)]

    def by_torchrun(self, arguments, ranks, restarts=0):
        return [popen(on_host(rank, [self.torchrun, "--no-python", "--nnodes", ranks, "--node-rank", rank, "--nproc-per-node", 1,
                                     "--master-addr", "lrnode0", "--master-port", PORT + 1, "--max-restarts", restarts, self.lowrank,
                                     *arguments]), self.environment) for rank in range(ranks)]


def slow_link(r):
    link = SlowLink()
    r.master = "10.78.0.1"
    began = time.monotonic()
    r.finish("slow", r.by_hand(r.arguments("slow"), 2), seconds=900)
    took = time.monotonic() - began
    r.master = "lrnode0"
    traffic = json.load(open(r.work / "slow" / "run.json"))["result"]["communication"]
    check("10 Mbit/s and 50 ms each way: the bytes of the fast link", r.digest("slow") == r.digest("by_hand-2"),
          f"{took:.0f} s, {json.dumps(traffic)}")
    return link


def groups(r):
    """Four hosts in two groups, which take the folds of one run from a study that they share."""
    r.one("folds-one", "--folds", 4, "--grad-accum", 2)
    options = ("--folds", 4, "--ranks-per-trial", 2, "--storage", f"sqlite:///{r.work}/folds.db")
    r.finish("folds", r.by_hand(r.arguments("folds", *options), 4), seconds=600)
    runs = [json.load(open(r.work / out / "run.json")) for out in ("folds-one", "folds")]
    losses = [[loss["loss"] for one in run["runs"] for loss in one["after"]] for run in runs]
    check("four folds on two groups of two hosts have the losses of one process", runs[1]["finished"] and len(losses[0]) >= 4 and
          e2e.apart(*losses) <= 1e-5, f"{e2e.apart(*losses):.1e}")


def random_faults(r, network, count, seed):
    options = ("--max-steps", 120, "--save-every", 5, "--eval-every", 60, "--rank-timeout", 3)
    r.finish("whole", r.by_hand(r.arguments("whole", *options), 2))
    began = time.monotonic()
    r.finish("whole-again", r.by_hand(r.arguments("whole-again", *options), 2))
    length = time.monotonic() - began
    draw = random.Random(seed)
    worst, good, resumed_from = 0.0, {"kill": 0, "stop": 0, "cut": 0}, []
    for n in range(count):
        kind, who = ("kill", "stop", "cut")[n % 3], draw.randrange(2)
        moment = draw.uniform(0.15, 0.85) * length
        out = f"fault-{n}"
        processes = r.by_hand(r.arguments(out, *options), 2)
        time.sleep(moment)
        if any(process.poll() is not None for process in processes):
            print(f"     {kind} of rank {who} after {moment:.1f} s came too late, and does not count", flush=True)
            r.finish(out, processes, expect=None)
            continue
        at = time.monotonic()
        victim, other = processes[who], processes[1 - who]
        if kind == "cut":
            network.cut(who)
        else:
            victim.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        _, errors = r.finish(out, [other], expect=None, seconds=60)
        took = time.monotonic() - at
        worst = max(worst, took)
        if kind == "cut":
            network.mend(who)
        victim.kill()
        victim.communicate()
        if other.returncode == 0 and r.digest(out) == r.digest("whole"):
            print(f"     {kind} of rank {who} after {moment:.1f} s came when all was done, and does not count", flush=True)
            continue
        named = f"rank {who} (" in errors and errors.count("error:") == 1
        meeting = "did not come" in errors or "could not be met" in errors or "cannot be reached" in errors
        if other.returncode != e2e.AGAIN or not (named or meeting):
            sys.exit(f"FAIL {kind} of rank {who} after {moment:.2f} s: exit {other.returncode}\n{errors}")
        said, _ = r.finish(out, r.by_hand(r.arguments(out, *options, "--resume"), 2))
        if r.digest(out) != r.digest("whole"):
            sys.exit(f"FAIL {kind} of rank {who} after {moment:.2f} s: the resumed run ends otherwise")
        good[kind] += 1
        resumed_from.append("resumed from" in said)
        print(f"ok   {n + 1}: {kind} of rank {who} after {moment:.2f} s of {length:.1f} s, said after {took:.1f} s; "
              f"{'went on from a checkpoint' if resumed_from[-1] else 'began anew'}; same bytes", flush=True)
    check(f"{sum(good.values())} faults {good}", True, f"slowest word after {worst:.1f} s; {sum(resumed_from)} went on from a checkpoint")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lowrank", type=pathlib.Path)
    parser.add_argument("--torchrun")
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only-faults", action="store_true")
    parser.add_argument("--model", type=pathlib.Path, help="another than the example's")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("ranks_hosts.py: network namespaces are root's")
    with tempfile.TemporaryDirectory() as work, Network() as network:
        r = Hosts(asked.lowrank.resolve(), pathlib.Path(work), asked.torchrun)
        r.base = asked.model.resolve() if asked.model else r.base
        if not asked.only_faults:
            e2e.same_as_one(r)
            slow_link(r)
            groups(r)
        random_faults(r, network, asked.faults, asked.seed)


if __name__ == "__main__":
    main()
