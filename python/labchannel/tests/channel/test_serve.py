"""The channel over HTTP, as clients ask for it; no client library in between."""

from __future__ import annotations

import concurrent.futures
import email.utils
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from labchannel.channel.publish import publish
from labchannel.channel.serve import serving
from labchannel.errors import LabchannelError

PACKAGE = "/noarch/alpha-1.0-h0_0.conda"
REPODATA = "/noarch/repodata.json"


class Browser:
    """One connection, kept alive over all requests: a wrong length would break the next one."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)

    def __call__(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=fields)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.fixture
def browser(lab):
    with serving(lab) as url:
        yield Browser(url)


@pytest.mark.parametrize(
    ("path", "kind", "caching"),
    [
        (REPODATA, "application/json", "no-cache"),
        ("/noarch/repodata.json.zst", "application/zstd", "no-cache"),
        ("/noarch/repodata_shards.msgpack.zst", "application/zstd", "no-cache"),
        ("/noarch/run_exports.json", "application/json", "no-cache"),
        ("/channeldata.json", "application/json", "no-cache"),
        (PACKAGE, "application/octet-stream", "public, max-age=31536000, immutable"),
    ],
)
def test_whole_files(lab, browser, path, kind, caching):
    content = (lab / path[1:]).read_bytes()
    status, headers, body = browser(path)
    assert (status, body) == (200, content)
    assert headers["Content-Type"] == kind
    assert headers["Cache-Control"] == caching
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Encoding"] is None
    head_status, head, nothing = browser(path, "HEAD")
    assert (head_status, nothing) == (200, b"")
    assert head["Content-Length"] == str(len(content))
    assert head["ETag"] == headers["ETag"]


def test_shards_never_change(lab, browser):
    (shard, *_) = (lab / "noarch" / "shards").iterdir()
    status, headers, _ = browser(f"/noarch/shards/{shard.name}")
    assert (status, headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")


def test_conditional_requests(lab, browser, make_package):
    _, headers, _ = browser(REPODATA)
    etag, modified = headers["ETag"], headers["Last-Modified"]
    for condition in (
        {"If_None_Match": etag},
        {"If_None_Match": f'"other", W/{etag}'},
        {"If_None_Match": "*"},
        {"If_Modified_Since": modified},
    ):
        status, headers, body = browser(REPODATA, **condition)
        assert (status, body) == (304, b"")
        # Without them a client could not ask again next time.
        assert (headers["ETag"], headers["Last-Modified"]) == (etag, modified)
        assert headers["Cache-Control"] == "no-cache"
    # The tag decides where both are given.
    status, _, body = browser(REPODATA, If_None_Match='"other"', If_Modified_Since=modified)
    assert status == 200
    status, _, _ = browser(REPODATA, If_Modified_Since="yesterday")
    assert status == 200
    publish(lab, [make_package("delta")])
    status, headers, body = browser(REPODATA, If_None_Match=etag)
    assert status == 200
    assert headers["ETag"] != etag
    assert "delta-1.0-h0_0.conda" in json.loads(body)["packages.conda"]


def test_the_modification_date_is_a_date(lab, browser):
    _, headers, _ = browser(PACKAGE)
    date = email.utils.parsedate_to_datetime(headers["Last-Modified"])
    assert int(date.timestamp()) == int((lab / PACKAGE[1:]).stat().st_mtime)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-999999", slice(5, None)),
        ("bytes=-999999", slice(0, None)),
    ],
)
def test_ranges(lab, browser, asked, expected):
    content = (lab / PACKAGE[1:]).read_bytes()
    start, end, _ = expected.indices(len(content))
    status, headers, body = browser(PACKAGE, Range=asked)
    assert body == content[expected]
    if body == content:
        assert status in (200, 206)
    else:
        assert status == 206
        assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(content)}"
    assert headers["ETag"]


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=999999-"])
def test_only_a_get_has_ranges(lab, browser, asked):
    """RFC 9110, 14.2"""
    status, headers, body = browser(PACKAGE, "HEAD", Range=asked)
    size = (lab / PACKAGE[1:]).stat().st_size
    assert (status, body, headers["Content-Length"]) == (200, b"", str(size))
    assert headers["Content-Range"] is None


def test_whole_addresses_as_a_proxy_is_asked(lab, browser):
    """RFC 9112, 3.2.2"""
    for address in ("http://lab.example", "HTTP://lab.example:8080", "https://[::1]:8080"):
        status, _, body = browser(f"{address}{PACKAGE}")
        assert (status, body) == (200, (lab / PACKAGE[1:]).read_bytes())
        assert b"noarch/" in browser(address)[2]
        status, headers, _ = browser(f"{address}/noarch")
        assert (status, headers["Location"]) == (301, "/noarch/")
        assert browser(f"{address}/../secret")[0] == 404


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0"])
def test_ranges_that_are_not_there(lab, browser, asked):
    status, headers, body = browser(PACKAGE, Range=asked)
    size = (lab / PACKAGE[1:]).stat().st_size
    assert (status, body, headers["Content-Range"]) == (416, b"", f"bytes */{size}")


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "lines=1-2", "bytes=9-2", "bytes=x-"])
def test_ranges_that_need_not_be_served(lab, browser, asked):
    status, _, body = browser(PACKAGE, Range=asked)
    assert (status, body) == (200, (lab / PACKAGE[1:]).read_bytes())


def test_a_range_of_a_file_that_changed_is_the_whole_new_file(lab, browser):
    _, headers, content = browser(PACKAGE)
    assert browser(PACKAGE, Range="bytes=0-3", If_Range=headers["ETag"])[0] == 206
    assert browser(PACKAGE, Range="bytes=0-3", If_Range=headers["Last-Modified"])[0] == 206
    status, _, body = browser(PACKAGE, Range="bytes=0-3", If_Range='"other"')
    assert (status, body) == (200, content)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/noarch/nothing.conda",
        "/noarch/alpha-1.0-h0_0.conda/x",
        "/../secret",
        "/noarch/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/noarch/..%5c..%5csecret",
        "/%00",
        "/C:/secret",
        "/.publish/new/noarch/repodata.json",
        "/noarch/link",
        "/loop",
        "/" + "x" * 5000,
    ],
)
def test_nothing_outside_the_channel(lab, browser, path):
    (lab.parent / "secret").write_text("secret")
    (lab / "noarch" / "link").symlink_to(lab.parent / "secret")
    (lab / "loop").symlink_to(lab / "loop")
    (lab / ".publish" / "new" / "noarch").mkdir(parents=True)
    (lab / ".publish" / "new" / "noarch" / "repodata.json").write_text("secret")
    status, headers, body = browser(path)
    assert status == 404
    assert b"secret" not in body
    # Or a package published later would stay missing for this client.
    assert headers["Cache-Control"] == "no-cache"
    assert browser(REPODATA)[0] == 200


def test_names_that_need_quoting(lab, browser):
    (lab / "noarch" / "Größe 1.txt").write_text("großartig", encoding="utf-8")
    for path in ("/noarch/Gr%C3%B6%C3%9Fe%201.txt", "/noarch//Gr%c3%b6%c3%9fe%201.txt?query#f"):
        status, _, body = browser(path)
        assert (status, body.decode()) == (200, "großartig")
    page = browser("/noarch/")[2].decode()
    assert '<a href="Gr%C3%B6%C3%9Fe%201.txt">Größe 1.txt</a>' in page


def test_folders_for_a_person_with_a_browser(browser):
    status, headers, body = browser("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b'<a href="noarch/">noarch/</a>' in body
    assert b".publish" not in body
    status, headers, _ = browser("/noarch")
    assert (status, headers["Location"]) == (301, "/noarch/")
    assert b"alpha-1.0-h0_0.conda" in browser("/noarch/")[2]
    assert browser("/", "HEAD")[::2] == (200, b"")


def test_only_reading(browser):
    assert browser(REPODATA, "POST")[0] == 501


def test_many_clients_at_once(lab):
    content = (lab / PACKAGE[1:]).read_bytes()
    with serving(lab) as url, concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: Browser(url)(PACKAGE)[2], range(200)))
    assert answers == [content] * 200


def test_a_client_that_goes_away_is_nobodys_trouble(lab, make_package, capfd):
    big = make_package("big", files={"big.bin": os.urandom(4 << 20)}, detect_prefix=False)
    publish(lab, [big])
    with serving(lab) as url:
        address = urllib.parse.urlsplit(url)
        for _ in range(5):
            with socket.create_connection((address.hostname, address.port)) as connection:
                connection.sendall(b"GET /noarch/" + big.name.encode() + b" HTTP/1.1\r\n\r\n")
                connection.recv(10)
        assert Browser(url)(f"/noarch/{big.name}")[2] == big.read_bytes()
    assert capfd.readouterr().err == ""


def test_ipv6_and_the_default_is_this_machine_only(lab):
    with serving(lab) as url:
        assert url.startswith("http://127.0.0.1:")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(lab, "::1") as url:
        assert url.startswith("http://[::1]:")
        assert Browser(url)(REPODATA)[0] == 200


def test_addresses_that_cant_be_used(lab, tmp_path):
    with serving(lab) as url:
        port = urllib.parse.urlsplit(url).port
        with (
            pytest.raises(LabchannelError, match=f"port {port}") as caught,
            serving(lab, port=port),
        ):
            pass
        assert "another port" in caught.value.mend
    for host, port in (("192.0.2.1", 0), ("nowhere.invalid", 0), ("127.0.0.1", 70000)):
        with pytest.raises(LabchannelError), serving(lab, host, port):
            pass
    with pytest.raises(LabchannelError, match="there is no channel"), serving(tmp_path / "no"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C can't be sent to one process there")
def test_ctrl_c_ends_it_quietly(lab):
    program = (
        "import sys; from pathlib import Path; from labchannel.channel.serve import serve\n"
        "serve(Path(sys.argv[1]))"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program, str(lab)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    line = server.stdout.readline()
    assert str(lab) in line
    url = next(word for word in line.split() if word.startswith("http://"))
    open_connection = Browser(url)
    assert open_connection(REPODATA)[0] == 200
    server.send_signal(signal.SIGINT)
    output, errors = server.communicate(timeout=60)
    assert (server.returncode, output, errors) == (0, "no longer serving\n", "")


def test_a_served_file_is_whole_while_the_channel_is_exchanged(lab, make_package):
    """The answer is made of the file that was opened, though another has taken its name."""
    big = make_package("big", files={"big.bin": os.urandom(8 << 20)}, detect_prefix=False)
    publish(lab, [big])
    with serving(lab) as url:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
        connection.request("GET", f"/noarch/{big.name}")
        answer = connection.getresponse()
        start = answer.read(1000)
        publish(lab, [make_package("delta")])
        assert start + answer.read() == Path(big).read_bytes()
