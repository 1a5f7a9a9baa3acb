#!/usr/bin/env python3
"""What a built lowrank is made of, as an SPDX 2.3 document.

    scripts/sbom.py BINARY [--out FILE]

Every shared library that the binary and its modules (../lib/lowrank) load, by the Debian package or the Python wheel that brought it, with its version, its licence and
the SHA-256 of the file that is loaded; and the libraries that are compiled in, which are headers or archives. Reproducible: the date is
that of SOURCE_DATE_EPOCH, else of the commit.
"""
import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMPILED_IN = ["nlohmann-json3-dev", "libcli11-dev", "libhwy-dev"]  # headers, and an archive
# Debian's short names that SPDX spells otherwise.
SPDX = {"BSD-3-clause": "BSD-3-Clause", "BSD-2-clause": "BSD-2-Clause", "Expat": "MIT", "Apache-2": "Apache-2.0", "zlib": "Zlib",
        "GPL-2+": "GPL-2.0-or-later", "GPL-2": "GPL-2.0-only", "GPL-3+": "GPL-3.0-or-later", "GPL-3": "GPL-3.0-only",
        "LGPL-2+": "LGPL-2.0-or-later", "LGPL-2.1+": "LGPL-2.1-or-later", "LGPL-2.1": "LGPL-2.1-only", "LGPL-3+": "LGPL-3.0-or-later",
        "curl": "curl", "libpng": "libpng-2.0", "OpenSSL": "OpenSSL", "ISC": "ISC", "Apache-2.0": "Apache-2.0"}
# Packages whose copyright file says it in prose, or by file, by the beginning of their names.
PROSE = {"libbrotli": "MIT", "libc6": "LGPL-2.1-or-later", "libfmt": "MIT", "libgcc-s1": "GPL-3.0-or-later WITH GCC-exception-3.1",
         "libstdc++6": "GPL-3.0-or-later WITH GCC-exception-3.1", "libgomp1": "GPL-3.0-or-later WITH GCC-exception-3.1",
         "libgmp10": "LGPL-3.0-or-later OR GPL-2.0-or-later", "libgnutls": "LGPL-2.1-or-later", "libhogweed": "LGPL-3.0-or-later OR GPL-2.0-or-later",
         "libnettle": "LGPL-3.0-or-later OR GPL-2.0-or-later", "libgssapi-krb5": "MIT", "libk5crypto": "MIT", "libkrb5": "MIT",
         "libjpeg62-turbo": "IJG AND BSD-3-Clause AND Zlib", "libldap": "OLDAP-2.8", "libp11-kit": "BSD-3-Clause", "libpcre2": "BSD-3-Clause",
         "libpsl": "MIT", "librtmp": "LGPL-2.1-or-later", "libsasl2": "BSD-4-Clause-UC", "libssh2": "BSD-3-Clause", "libtasn1": "LGPL-2.1-or-later",
         "libtinfo": "X11", "libunistring": "LGPL-3.0-or-later OR GPL-2.0-or-later", "libyaml-cpp": "MIT", "libzstd": "BSD-3-Clause OR GPL-2.0-only",
         "zlib1g": "Zlib"}


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read()).hexdigest()


def modules(binary):
    """What the program loads itself, where it is the command: the verbs and what only some runs need."""
    return sorted((pathlib.Path(binary).resolve().parents[1] / "lib/lowrank").glob("*.so"))


def loaded(binary):
    """The libraries that the loader would take, by path."""
    found = {}
    for part in [binary, *modules(binary)]:
        for line in output("ldd", str(part)).splitlines():
            match = re.match(r"\s*(\S+) => (/\S+)", line) or re.match(r"\s*()(/\S+) \(", line)
            if match:
                found[match[2]] = pathlib.Path(match[2]).resolve()
    return sorted(set(found.values()))


def debian_package(path):
    for name in (path, str(path).replace("/usr/lib/", "/lib/"), str(path).replace("/lib/", "/usr/lib/", 1)):
        owner = output("dpkg-query", "-S", str(name)).split(":")[0].strip()
        if owner:
            return owner
    return None


def debian_licence(package):
    """The licence of a package's files ("Files: *") as its copyright file says it; NOASSERTION where that says it in prose alone."""
    for folder in (package, re.sub(r"-dev$", "", package)):
        try:
            text = pathlib.Path(f"/usr/share/doc/{folder}/copyright").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for paragraph in text.split("\n\n"):
            if re.search(r"^Files:\s*\*\s*$", paragraph, re.M):
                match = re.search(r"^License:\s*(\S.*)$", paragraph, re.M)
                if match and match[1].strip() in SPDX:
                    return SPDX[match[1].strip()]
    return next((licence for name, licence in PROSE.items() if package.startswith(name)), "NOASSERTION")


def wheel_of(path):
    """Name, version and licence of the Python distribution in whose folder a library lies."""
    for folder in path.parents:
        for info in folder.parent.glob(f"{folder.name}-*.dist-info/METADATA"):
            text = info.read_text(encoding="utf-8", errors="replace")
            field = lambda name: (re.search(rf"^{name}: (.*)$", text, re.M) or [None, ""])[1].strip()
            licence = field("License-Expression") or field("License")
            return field("Name"), field("Version"), licence if re.fullmatch(r"[\w.+ ()-]{1,120}", licence) else "NOASSERTION"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("modules", type=pathlib.Path, nargs="*")
    parser.add_argument("--out", type=pathlib.Path)
    given = parser.parse_args()
    binary = given.binary.resolve()
    version = re.search(r"project\(lowrank VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or output("git", "-C", str(ROOT), "log", "-1", "--format=%ct").strip() or 0)

    packages = {}

    def add(name, number, licence, supplier, purl, path=None):
        entry = packages.setdefault((name, number), {
            "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{name}-{number}"), "name": name, "versionInfo": number,
            "supplier": supplier, "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION",
            "licenseDeclared": licence, "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]})
        if path is not None:
            files = entry.setdefault("files", {})
            files[path.name] = sha256(path)

    unknown = []
    own = {binary, *(module.resolve() for module in given.modules)}
    libraries = sorted({library for file in own for library in loaded(file)} - own)
    if not libraries:
        sys.exit(f"sbom: ldd says nothing of {binary}: build it first (make build)")
    for path in libraries:
        package = debian_package(path)
        wheel = None if package else wheel_of(path)
        if package:
            number = output("dpkg-query", "-W", "-f=${Version}", package).split("\n")[0]
            add(package, number, debian_licence(package), "Organization: Debian", f"pkg:deb/debian/{package}@{number}", path)
        elif wheel:
            add(wheel[0], wheel[1], wheel[2], "NOASSERTION", f"pkg:pypi/{wheel[0].lower()}@{wheel[1]}", path)
        else:
            unknown.append(path)
            add(path.name, sha256(path)[:12], "NOASSERTION", "NOASSERTION", f"pkg:generic/{path.name}", path)
    for package in COMPILED_IN:
        number = output("dpkg-query", "-W", "-f=${Version}", package)
        if number:
            add(package, number, debian_licence(package), "Organization: Debian", f"pkg:deb/debian/{package}@{number}")

    me = {"SPDXID": "SPDXRef-lowrank", "name": "lowrank", "versionInfo": version, "supplier": "NOASSERTION",
          "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "Apache-2.0", "licenseDeclared": "Apache-2.0",
          "copyrightText": "NOASSERTION", "checksums": [{"algorithm": "SHA256", "checksumValue": sha256(binary)}]}
    listed, relations = [me], [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-lowrank"}]
    for (name, _), entry in sorted(packages.items()):
        files = entry.pop("files", None)
        if files:
            entry["comment"] = "loaded: " + ", ".join(f"{n} (SHA-256 {h})" for n, h in sorted(files.items()))
        listed.append(entry)
        relations.append({"spdxElementId": "SPDXRef-lowrank", "relationshipType": "DYNAMIC_LINK" if files else "STATIC_LINK",
                          "relatedSpdxElement": entry["SPDXID"]})
    document = {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"lowrank-{version}",
                "documentNamespace": f"https://spdx.org/spdxdocs/lowrank-{version}-{sha256(binary)[:16]}",
                "creationInfo": {"created": datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                                 "creators": ["Tool: lowrank-sbom"]},
                "packages": listed, "relationships": relations}
    text = json.dumps(document, indent=2) + "\n"
    if given.out:
        given.out.write_text(text, encoding="utf-8")
        print(f"{given.out}: {len(listed) - 1} packages, {len(libraries)} shared libraries" +
              (f", {len(unknown)} of no known package: {', '.join(p.name for p in unknown)}" if unknown else ""))
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
