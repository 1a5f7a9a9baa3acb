#!/usr/bin/env python3
"""The cache of `lowrank pull` against huggingface_hub's own, from one server on loopback.

    hub_parity.py --lowrank build/bin/lowrank

1. What pull writes, huggingface_hub (snapshot_download and hf_hub_download with local_files_only, scan_cache_dir) reads: the same files,
   the same bytes, no warning, nothing downloaded.
2. What huggingface_hub writes, pull finds whole: it downloads nothing, and `lowrank tokenize` resolves the name.
3. Both layouts are the same: links, blobs' names, refs.
4. Where pull was cut off, huggingface_hub's download of the same file is not disturbed, and the other way about.
5. What push sends, as this server keeps it, is what huggingface_hub's upload_folder of the same files leaves there.
6. A folder of `pull --local-dir` is one of huggingface_hub's local_dir, and the other way about; a file that was cut off is gone on with.
"""
import argparse
import base64
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import warnings

COMMIT = "c" * 39 + "1"


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


FILES = {
    "config.json": b'{"model_type": "llama"}',
    "README.md": b"# card\n",
    "model.safetensors": bytes(range(256)) * 2000,
    "additional_chat_templates/rag.jinja": b"{{ messages }}",
    "tokenizer_config.json": b"{}",
    ".gitattributes": b"x",
    "pytorch_model.bin": b"pickle" * 1000,
}
LARGE = 10_000


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    downloads = []
    pushed = {}
    objects = {}

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value):
        self.reply(200, json.dumps(value).encode(), Content_Type="application/json")

    def do_GET(self):
        path = self.path.split("?")[0]
        if path in ("/api/models/org/tiny/revision/main", "/api/models/org/tiny", f"/api/models/org/tiny/revision/{COMMIT}"):
            return self.json({"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]})
        if path.startswith("/api/models/org/tiny/tree/"):
            entries = []
            for name, data in FILES.items():
                entry = {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)}
                if len(data) >= LARGE:
                    entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
                entries.append(entry)
            return self.json(entries)
        for prefix in ("/org/tiny/resolve/main/", f"/org/tiny/resolve/{COMMIT}/"):
            if path.startswith(prefix) and path[len(prefix):] in FILES:
                return self.file(FILES[path[len(prefix):]], path[len(prefix):])
        self.reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)

    do_HEAD = do_GET

    def file(self, data, name):
        digest = hashlib.sha256(data).hexdigest() if len(data) >= LARGE else git_sha1(data)
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if self.command == "GET":
            Hub.downloads.append(name)
        begin, end, status = 0, len(data), 200
        if spec := self.headers.get("Range"):
            low, high = spec.removeprefix("bytes=").split("-")
            begin, end, status = int(low), min(int(high) + 1 if high else len(data), len(data)), 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        self.reply(status, data[begin:end], **headers)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_POST(self):
        body = self.body()
        path = self.path.split("?")[0]
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.reply(409, b'{"error": "it exists"}')
        if path.startswith("/api/models/org/mine/preupload/"):
            return self.json({"files": [{"path": one["path"], "shouldIgnore": False,
                                         "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular"}
                                        for one in json.loads(body)["files"]]})
        if path == "/org/mine.git/info/lfs/objects/batch":
            here = f"http://{self.headers['Host']}"
            return self.json({"transfer": "basic", "objects": [
                {**one, "actions": {"upload": {"href": f"{here}/put/{one['oid']}"}}} for one in json.loads(body)["objects"]]})
        if path.startswith("/api/models/org/mine/commit/"):
            Hub.pushed = {}
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    Hub.pushed[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    assert value["size"] == len(Hub.objects[value["oid"]])
                    Hub.pushed[value["path"]] = Hub.objects[value["oid"]]
            return self.json({"success": True, "commitOid": COMMIT, "commitUrl": f"http://{self.headers['Host']}/org/mine/commit/{COMMIT}"})
        self.reply(404)

    def do_PUT(self):
        data = self.body()
        oid = self.path.rsplit("/", 1)[1]
        assert hashlib.sha256(data).hexdigest() == oid
        Hub.objects[oid] = data
        self.reply(200)


def layout(cache):
    """Every name of the repository's entry -> what it is: a link's target, a blob's hash, a ref's text."""
    result = {}
    root = cache / "models--org--tiny"
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(("trees", ".no_exist")) or path.is_dir():
            continue
        result[name] = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    lowrank = str(pathlib.Path(parser.parse_args().lowrank).resolve())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as work:
        run(lowrank, endpoint, pathlib.Path(work))


def run(lowrank, endpoint, work):
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(work / "home"), "HF_TOKEN": "hf_parity", "HF_HUB_DISABLE_XET": "1",
           "HF_HUB_DISABLE_TELEMETRY": "1",
           "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    env.pop("HF_HUB_CACHE", None)
    os.environ.update(env)
    warnings.simplefilter("error")
    import huggingface_hub as hub

    def ours(*arguments, cache):
        done = subprocess.run([lowrank, *arguments, "--json"], env={**env, "HF_HUB_CACHE": str(cache)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    wanted = {name: data for name, data in FILES.items() if name not in (".gitattributes", "pytorch_model.bin")}
    a, b = work / "ours", work / "theirs"
    pulled = ours("pull", "org/tiny", cache=a)
    assert {one["path"] for one in pulled["files"]} == set(wanted), pulled
    assert pulled["downloaded_bytes"] == sum(map(len, wanted.values()))

    Hub.downloads.clear()
    snapshot = hub.snapshot_download("org/tiny", cache_dir=a, local_files_only=True)
    assert snapshot == pulled["path"], (snapshot, pulled["path"])
    for name, data in wanted.items():
        assert pathlib.Path(hub.hf_hub_download("org/tiny", name, cache_dir=a, local_files_only=True)).read_bytes() == data
        assert pathlib.Path(snapshot, name).read_bytes() == data
    assert hub.try_to_load_from_cache("org/tiny", "generation_config.json", cache_dir=a) is hub._CACHED_NO_EXIST
    info = hub.scan_cache_dir(a)
    assert not info.warnings, info.warnings
    assert {one.file_name for repo in info.repos for rev in repo.revisions for one in rev.files} == {n.split("/")[-1] for n in wanted}
    assert hub.snapshot_download("org/tiny", cache_dir=a, allow_patterns=list(wanted)) == snapshot
    assert not Hub.downloads, Hub.downloads
    print("1. huggingface_hub", hub.__version__, "reads what pull wrote and downloads nothing")

    hub.snapshot_download("org/tiny", cache_dir=b, allow_patterns=list(wanted))
    Hub.downloads.clear()
    again = ours("pull", "org/tiny", cache=b)
    assert again["downloaded_bytes"] == 0 and not Hub.downloads and all(one["cached"] for one in again["files"]), again
    print("2. pull finds what huggingface_hub wrote and downloads nothing")

    assert layout(a) == layout(b), (layout(a), layout(b))
    print("3. the two layouts are the same:", len(layout(a)), "names")

    c = work / "cut"
    blobs = c / "models--org--tiny" / "blobs"
    blobs.mkdir(parents=True)
    digest = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    (blobs / f"{digest}.incomplete").write_bytes(FILES["model.safetensors"][:300_000])
    path = hub.hf_hub_download("org/tiny", "model.safetensors", cache_dir=c)
    assert pathlib.Path(path).read_bytes() == FILES["model.safetensors"]
    (blobs / digest).unlink()
    resumed = ours("pull", "org/tiny", cache=c)
    assert resumed["resumed_bytes"] in (0, 300_000) and pathlib.Path(resumed["path"], "model.safetensors").read_bytes() == FILES["model.safetensors"]
    print("4. a download that was cut off disturbs neither")

    folder = work / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/tiny"}')
    (folder / "adapter_model.safetensors").write_bytes(FILES["model.safetensors"])
    (folder / "README.md").write_text("---\nbase_model: org/tiny\n---\n# x\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its HTTP library about itself
        hub.upload_folder(repo_id="org/mine", folder_path=folder)
    theirs = dict(Hub.pushed)
    Hub.objects.clear()
    pushed = ours("push", str(folder), "org/mine", "--create", cache=a)
    assert pushed["commit"] == COMMIT and Hub.pushed == theirs and len(theirs) == 3, (pushed, Hub.pushed.keys(), theirs.keys())
    print("5. push leaves what upload_folder leaves:", ", ".join(sorted(theirs)))
    local_folders(hub, ours, wanted, work)


def local_folders(hub, ours, wanted, work):
    from huggingface_hub._local_folder import get_local_download_paths

    mine, theirs, half, none = (work / f"dir-{name}" for name in ("mine", "theirs", "half", "none"))
    pulled = ours("pull", "org/tiny", "--local-dir", str(mine), cache=none)
    assert pulled["path"] == str(mine) and not none.exists(), pulled
    hub.snapshot_download("org/tiny", local_dir=theirs, cache_dir=none, allow_patterns=list(wanted))
    for folder in (mine, theirs):
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
                 if path.is_file() and ".cache" not in path.relative_to(folder).parts}
        assert found == wanted, (folder, found.keys())
    Hub.downloads.clear()
    hub.snapshot_download("org/tiny", local_dir=mine, cache_dir=none, allow_patterns=list(wanted))
    assert ours("pull", "org/tiny", "--local-dir", str(theirs), cache=none)["downloaded_bytes"] == 0
    assert not Hub.downloads, Hub.downloads
    paths = get_local_download_paths(half, "model.safetensors")
    paths.incomplete_path(hashlib.sha256(FILES["model.safetensors"]).hexdigest()).write_bytes(FILES["model.safetensors"][:300_000])
    resumed = ours("pull", "org/tiny", "--local-dir", str(half), cache=none)
    assert resumed["resumed_bytes"] == 300_000 and (half / "model.safetensors").read_bytes() == FILES["model.safetensors"], resumed
    print("6. a --local-dir is huggingface_hub's local_dir: each finds the other's whole, and ours goes on with what theirs began")


if __name__ == "__main__":
    sys.exit(main())
