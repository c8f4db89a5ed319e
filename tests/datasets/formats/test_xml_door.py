"""ImageNet's XML files: entities reach no file and do not grow; damage is a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from cambench.datasets.adapters.imagenet.xml_boxes import read_xml
from cambench.datasets.findings import Findings

BODY = "<annotation><object><name>{name}</name></object></annotation>"


def external(secret: Path) -> str:
    return f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]>' + BODY.format(name="&x;")


def bomb() -> str:
    names = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    return f'<!DOCTYPE a [<!ENTITY e0 "lol">{names}]>' + BODY.format(name="&e11;")


@pytest.mark.parametrize("kind", ["external", "bomb"])
def test_entities_are_damage(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("n01440764")
    folder = tmp_path / "xml"
    folder.mkdir()
    (folder / "a.xml").write_text(external(secret) if kind == "external" else bomb())
    findings = Findings()
    found = read_xml(folder, {"n01440764": 0}, findings)
    assert found.labels == {}
    (told,) = findings.of("error")
    assert told.what.startswith("1 XML files cannot be read: a.xml")
