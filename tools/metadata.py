"""
Carry what `pyproject.toml` and `CITATION.cff` say to the files that other services read.

    python tools/metadata.py [--version X.Y.Z] [--check]

`CITATION.cff` gets the address of the repository, and with ``--version`` the version and the date; `codemeta.json` and
`.zenodo.json` are written anew. With ``--check`` nothing is written: the command fails if a file is out of date. With
``--version`` it fails too as long as the addresses are placeholders.
"""

import argparse
import datetime
import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PLACEHOLDER = "example.org"


def files(version=None, today=None):
    """The text of each file, by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    text = _with_line(text, "repository-code", project["urls"]["Repository"])
    if version:
        text = _with_line(_with_line(text, "version", version), "date-released", today.isoformat())
    citation = yaml.safe_load(text)
    return {
        "CITATION.cff": text,
        "codemeta.json": _as_json(_codemeta(project, citation)),
        ".zenodo.json": _as_json(_zenodo(project, citation)),
    }


def _with_line(text, key, value):
    """Top-level keys stand behind the license, or where they are."""
    line = f'{key}: "{value}"'
    if re.search(rf"^{key}:", text, re.MULTILINE):
        return re.sub(rf"^{key}:.*$", line, text, flags=re.MULTILINE)
    return re.sub(r"^(license:.*)$", rf"\1\n{line}", text, count=1, flags=re.MULTILINE)


def _codemeta(project, citation):
    urls = project["urls"]
    return {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": citation["title"],
        "description": project["description"],
        "license": f"https://spdx.org/licenses/{project['license']}",
        "codeRepository": urls["Repository"],
        "issueTracker": urls["Issues"],
        "url": urls["Documentation"],
        "author": [_person(author) for author in citation["authors"]],
        "keywords": project["keywords"],
        "programmingLanguage": "Python",
        "runtimePlatform": f"Python {project['requires-python']}",
        "softwareRequirements": project["dependencies"],
        "referencePublication": [f"https://doi.org/{each['doi']}" for each in citation["references"]],
        **({"version": str(citation["version"])} if "version" in citation else {}),
    }


def _person(author):
    if "name" in author:
        return {"@type": "Organization", "name": author["name"]}
    orcid = {"@id": author["orcid"]} if "orcid" in author else {}
    return {"@type": "Person", "givenName": author["given-names"], "familyName": author["family-names"], **orcid}


def _zenodo(project, citation):
    names = [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in citation["authors"]]
    return {
        "title": citation["title"],
        "description": project["description"],
        "upload_type": "software",
        "license": project["license"],
        "creators": [{"name": name} for name in names],
        "keywords": project["keywords"],
        "related_identifiers": [
            {"identifier": each["doi"], "relation": "references", "scheme": "doi"} for each in citation["references"]
        ],
    }


def _as_json(content):
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main(arguments=None):
    """Parse the command line, write or compare."""
    parser = argparse.ArgumentParser(description="Carry the metadata to the files that other services read.")
    parser.add_argument("--version", help="of a release")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    chosen = parser.parse_args(arguments)
    texts = files(chosen.version, datetime.datetime.now(datetime.UTC).date())
    if chosen.version and PLACEHOLDER in texts["codemeta.json"]:
        print(f"[project.urls] of pyproject.toml are placeholders ({PLACEHOLDER}): fill them in", file=sys.stderr)
        return 1
    old = {}
    for name, text in texts.items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            old[name] = text
    if chosen.check:
        print(*(f"{name} is out of date: run python tools/metadata.py" for name in old), sep="\n", file=sys.stderr)
        return 1 if old else 0
    for name, text in old.items():
        (ROOT / name).write_text(text, encoding="utf-8")
        print("written:", name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
