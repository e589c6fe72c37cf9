"""What is found out about the process."""

import pytest

from rvh_trace import detectors

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        (f"12:cpu:/docker/{ID}", "", ID),
        (f"1:name=systemd:/system.slice/docker-{ID}.scope", "", ID),
        (f"0::/kubepods/burstable/pod7/cri-containerd-{ID}.scope", "", ID),
        (
            "0::/",
            f"1 2 254:0 / / rw - ext4 /dev/vda rw\n"
            f"613 572 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 a rw",
            ID,
        ),
        (
            "0::/",
            f"7 5 0:4 /u/overlay-containers/{ID}/userdata/hostname /etc/hostname rw - a b c",
            ID,
        ),
        # What is mounted elsewhere may be another container's.
        ("0::/", f"7 5 0:4 /var/lib/docker/containers/{ID}/hostname /mnt rw - ext4 a rw", None),
        ("0::/user.slice", "7 5 0:4 / / rw - ext4 a rw", None),
        (None, None, None),
    ],
)
def test_the_container_is_told_by_both_versions_of_cgroups(tmp_path, cgroup, mountinfo, expected):
    for name, text in (("cgroup", cgroup), ("mountinfo", mountinfo)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert detectors._container_id(tmp_path) == expected


def test_the_process_and_its_host_are_told():
    found = detectors.detected()
    assert found["process.pid"] > 0
    assert found["process.runtime.name"] == "cpython"
    assert found["host.name"]
