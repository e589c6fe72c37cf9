"""What a wheel carries: a licence file that is added to it afterwards."""

import base64
import hashlib
import zipfile

import pytest
from installer.sources import WheelFile
from labchannel.distribution import add_licence, check_licences
from labchannel.errors import LabchannelError

INFO = "plain-1.0.dist-info"
FILES = {
    "plain.py": "x = 1\n",
    # What is among its files has metadata too.
    "plain/other-2.dist-info/METADATA": "Metadata-Version: 2.4\nName: other\n",
    f"{INFO}/METADATA": (
        "Metadata-Version: 2.4\nName: plain\nVersion: 1.0\nLicense-File: LICENSE-A\n\nAbout it.\n"
    ),
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\n",
    f"{INFO}/licenses/LICENSE-A": "A\n",
}


def record_line(name, text):
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"{name},sha256={digest.rstrip('=')},{len(text)}\n"


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "plain-1.0-py3-none-any.whl"
    record = "".join(record_line(*item) for item in FILES.items()) + f"{INFO}/RECORD,,\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**FILES, f"{INFO}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 2, 29, 12, 0, 0)), text)
    return path


def content(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info).decode() for info in archive.infolist()}


def test_it_is_there_and_named_and_hashed(wheel):
    add_licence(wheel, "THIRDPARTY.yml", b"crates: []\n")
    check_licences(wheel)
    with WheelFile.open(wheel) as installed:
        installed.validate_record()
    after = content(wheel)
    assert after[f"{INFO}/licenses/THIRDPARTY.yml"] == "crates: []\n"
    headers, _, description = after[f"{INFO}/METADATA"].partition("\n\n")
    assert headers.splitlines()[0] == "Metadata-Version: 2.4"
    assert {"License-File: LICENSE-A", "License-File: THIRDPARTY.yml"} <= set(headers.splitlines())
    assert description == "About it.\n"
    same = FILES.keys() - {f"{INFO}/METADATA"}
    assert {name: after[name] for name in same} == {name: FILES[name] for name in same}


def test_equal_wheels_stay_equal(wheel):
    other = wheel.with_name("other.whl")
    other.write_bytes(wheel.read_bytes())
    add_licence(wheel, "THIRDPARTY.yml", b"text")
    add_licence(other, "THIRDPARTY.yml", b"text")
    assert wheel.read_bytes() == other.read_bytes()
    assert len(list(wheel.parent.iterdir())) == 2


def test_an_empty_one_is_found(wheel):
    add_licence(wheel, "THIRDPARTY.yml", b"")
    with pytest.raises(LabchannelError, match=r"has no THIRDPARTY\.yml"):
        check_licences(wheel)


def test_what_is_no_wheel_is_told(tmp_path):
    path = tmp_path / "plain-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("plain.py", "")
    with pytest.raises(LabchannelError, match="is no wheel"):
        add_licence(path, "THIRDPARTY.yml", b"text")
