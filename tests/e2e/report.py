#!/usr/bin/env python3
"""Reports in a real browser, and event files in TensorBoard's own reader.

    report.py LOWRANK ASSETS

A fine-tune, a comparison and a sweep on stories260K write report.html; each is opened by a headless Chromium (Debian's, when it is there or
can be installed) on a phone's screen: nothing is fetched, nothing is said on the console, the page does not scroll sideways at
390 px, colours follow the system's dark mode. A run with --tensorboard that is killed and resumed has every step once, with the
values of metrics.jsonl, as PyPI's tensorboard reads it (where that is installed).
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

from checks import check


def find_chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], capture_output=True,
                       env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False)
    return shutil.which("chromium")


def find_axe(folder):
    """The source of axe-core, which looks for what keeps people from reading a page; None where npm cannot bring it."""
    if not shutil.which("npm"):
        return None
    done = subprocess.run(["npm", "pack", "--silent", "axe-core@4.14.1"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        return archive.extractfile("package/axe.min.js").read().decode("utf-8")


class Browser:
    """Chromium's DevTools protocol over its pipe: one JSON message after another, each ended by a zero byte."""

    def __init__(self, program, profile):
        read_theirs, write_ours = os.pipe()
        read_ours, write_theirs = os.pipe()

        def place():
            # They must be 3 and 4 in the browser; both are moved out of the way first.
            theirs = os.dup2(read_theirs, 100), os.dup2(write_theirs, 101)
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={profile}", "--remote-debugging-pipe"],
            preexec_fn=place, close_fds=False, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read_theirs)
        os.close(write_theirs)
        self.to, self.back = write_ours, os.fdopen(read_ours, "rb", buffering=0)
        self.last, self.rest, self.events = 0, b"", []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(domain + ".enable")

    def message(self):
        while b"\0" not in self.rest:
            more = self.back.read(65536)
            if not more:
                sys.exit("the browser ended")
            self.rest += more
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def __call__(self, method, **parameters):
        self.last += 1
        request = {"id": self.last, "method": method, "params": parameters}
        if getattr(self, "session", None):
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.last:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def open(self, page):
        self.events.clear()
        self("Page.navigate", url=page.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.message())

    def value(self, expression):
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Its helper processes outlive it for a moment and still write into the profile: the whole group is ended, and waited for, before
        # anybody deletes that folder. They are no children of ours, so the group is asked whether anyone is left.
        deadline = time.time() + 10
        while time.time() < deadline:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            self.process.poll()
            time.sleep(0.02)
        self.process.wait()


def barriers(browser, axe):
    """What axe-core finds serious or critical on the page as it stands."""
    browser.value(axe + "; 0")
    found = browser("Runtime.evaluate", expression="axe.run(document, {resultTypes: ['violations']}).then(r => r.violations"
                    ".filter(v => ['serious', 'critical'].includes(v.impact)).map(v => v.id + ': ' + v.nodes.length + ' x ' + v.nodes[0].html))",
                    awaitPromise=True, returnByValue=True)
    return found["result"]["value"]


def accessible(browser, page, axe):
    for width, colours in ((390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")):
        browser("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
        browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])
        browser.open(page)
        found = barriers(browser, axe)
        check(f"{page.parent.name}/report.html: axe-core finds nothing serious at {width} px, {colours}", not found, "\n".join(found[:8]))


def look_at(browser, page):
    name = f"{page.parent.name}/report.html"
    browser("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    browser.open(page)
    said = [e for e in browser.events if e.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]
    fetched = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    check(f"{name}: nothing on the console", not said, str(said[:1]) if said else "")
    check(f"{name}: nothing fetched but the page", all(u.startswith(("file:", "data:")) for u in fetched) and len([u for u in fetched if u.startswith("file:")]) == 1)
    width = browser.value("document.documentElement.scrollWidth")
    check(f"{name}: no sideways scroll at 390 px", browser.value("innerWidth") == 390 and width <= 390, f"({width} px)")
    check(f"{name}: no script", browser.value("document.scripts.length") == 0)
    smallest = browser.value("Math.min(...[...document.querySelectorAll('svg text, p, td, dd, .text')].map(e => "
                             "parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement ? e.ownerSVGElement.getBoundingClientRect().width / 380 : 1)))")
    check(f"{name}: no text under 10 px on a phone", smallest >= 10, f"({smallest:.1f} px)")
    colours = "(() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color, " \
              "...[...document.querySelectorAll('.curve')].slice(0, 1).map(e => getComputedStyle(e).stroke)]; })()"
    light = browser.value(colours)
    browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = browser.value(colours)
    check(f"{name}: dark mode has other colours", all(a != b for a, b in zip(light, dark, strict=True)), f"{light[0]} -> {dark[0]}")
    luminance = lambda c: sum(int(float(v)) for v in c[c.index("(") + 1:-1].split(",")[:3])
    check(f"{name}: light text on dark paper", luminance(dark[0]) < 200 < 500 < luminance(dark[1]))
    return browser


def events_once(lowrank, model, data, work):
    command = [lowrank, "finetune", model, "--data", data, "--max-steps", "120", "--batch-size", "2", "--seq-len", "128", "--rank", "4",
               "--save-every", "8", "--eval-every", "10", "--tensorboard", "--quiet", "--samples", "0", "--out", work / "events"]
    run = subprocess.Popen(command)
    metrics = work / "events" / "metrics.jsonl"
    deadline = time.time() + 300
    while run.poll() is None and time.time() < deadline and not (metrics.exists() and metrics.read_text().count('"lr"') >= 19):
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    check("a run with --tensorboard was killed midway", run.returncode == -signal.SIGKILL)
    subprocess.run([*command, "--resume"], check=True)
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        print("skipped: PyPI tensorboard is not installed; the event file was not read back")
        return
    events = EventAccumulator(str(work / "events"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()

    def series(tag):
        if tag in tags["scalars"]:
            return [(e.step, e.value) for e in events.Scalars(tag)]
        from tensorboard.util.tensor_util import make_ndarray
        return [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]

    steps = [(row["step"], row) for row in rows if "lr" in row]
    for tag, key in (("train/loss", "loss"), ("train/lr", "lr"), ("train/grad_norm", "grad_norm")):
        found = series(tag)
        check(f"TensorBoard reads {tag}: every step once, as in metrics.jsonl", [s for s, _ in found] == [s for s, _ in steps] and
              all(abs(v - row[key]) <= 1e-6 * max(1, abs(row[key])) for (_, v), (_, row) in zip(found, steps, strict=True)), f"({len(found)} steps)")
    evaluations = [(row["step"], row["eval_loss"]) for row in rows if row.get("split") == "validation"]
    found = series("validation/loss")
    check("TensorBoard reads validation/loss", [s for s, _ in found] == [s for s, _ in evaluations] and len(found) > 3, f"({len(found)})")


def main():
    lowrank, assets = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    model = assets / "models" / "stories260K-hf"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = pathlib.Path(folder)
        text = (assets / "corpora" / "art-history" / "bell-art.pg16917.txt").read_text(encoding="utf-8-sig")
        (work / "art.txt").write_text("\n<|endoftext|>\n".join(text[i:i + 1500] for i in range(20000, 80000, 1500)), encoding="utf-8")
        rows = (assets / "instruct" / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:4]
        (work / "gsm8k.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        subprocess.run([lowrank, "finetune", model, "--data", work / "art.txt", "--max-steps", "60", "--seq-len", "128", "--rank", "8",
                        "--quiet", "--out", work / "run"], check=True)
        subprocess.run([lowrank, "evaluate", model, "--compare", f"art={work / 'run'}", "--data", f"in={work / 'art.txt'}", "--perturb", "typos:0.05",
                        "ocr", "--questions", f"gsm8k={work / 'gsm8k.jsonl'}", "--extract", "#### (.+)", "--max-new-tokens", "16",
                        "--seq-len", "128", "--quiet", "--out", work / "comparison"], check=True)
        (work / "space.yaml").write_text("lr: {log: [1e-4, 1e-1]}\nrank: {choice: [1, 4, 16]}\n"
                                         "init: {choice: [default, orthogonal], when: {rank: [4, 16]}}\n")
        subprocess.run([lowrank, "sweep", work / "space.yaml", model, "--data", work / "art.txt", "--max-steps", "6", "--seq-len", "128",
                        "--trials", "16", "--sampler", "random", "--quiet", "--out", work / "sweep"], check=True)
        events_once(lowrank, model, work / "art.txt", work)
        program = find_chromium()
        if program is None:
            print("skipped: there is no Chromium and none could be installed; report.html was not opened in a browser")
            return
        axe = find_axe(work)
        if axe is None:
            print("skipped: npm cannot bring axe-core here; it did not look for barriers")
        with Browser(program, work / "profile") as browser:
            for name in ("run", "comparison", "sweep"):
                look_at(browser, work / name / "report.html")
                if axe is not None:
                    accessible(browser, work / name / "report.html", axe)
            browser.open(work / "sweep" / "report.html")
            check("sweep: a line for every trial", browser.value("document.querySelectorAll('path.run').length") == 16)
            rows = browser.value("[...document.querySelectorAll('table')[0].rows].map(r => r.cells[0].textContent)")
            check("sweep: the learning rate is first in importance", rows[:2] == ["option", "lr"], str(rows))


if __name__ == "__main__":
    main()
