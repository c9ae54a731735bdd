"""Downloads against a server on this machine: broken connections, resume, sizes, checksums and messages."""

import hashlib
import http.server
import threading

import pytest

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules._downloads import RemoteFile, fetch, official_files

CONTENT = bytes(range(256)) * 5000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the first `cuts` answers break after 100,000 bytes."""

    cuts = 0
    ranges = True
    told = True  # how long the file is, where nothing is left of it
    status: int | None = None
    asked: list[str | None] = []

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        if self.path == "/empty.bin" or type(self).status is not None:
            self.send_response(type(self).status or 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path != "/data.bin":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            if self.told:
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if type(self).cuts > 0:
            type(self).cuts -= 1
            body = body[:100000]
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    class Mine(Handler):
        asked: list[str | None] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Mine, f"http://127.0.0.1:{running.server_port}/data.bin"
        running.shutdown()
        thread.join()


def test_broken_connections_are_continued_where_they_ended(server, tmp_path):
    handler, url = server
    handler.cuts = 3
    digest = hashlib.sha256(CONTENT).hexdigest()
    path = fetch(RemoteFile("a.bin", url, len(CONTENT), digest), tmp_path)
    assert path.read_bytes() == CONTENT and not list(tmp_path.glob("*.part"))
    assert handler.asked == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_a_part_of_an_earlier_run_is_continued(server, tmp_path):
    handler, url = server
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:777])
    assert fetch(RemoteFile("a.bin", url), tmp_path).read_bytes() == CONTENT and handler.asked == ["bytes=777-"]
    (tmp_path / "b.bin.part").write_bytes(CONTENT)  # the last run ended before the file was renamed
    assert fetch(RemoteFile("b.bin", url), tmp_path).read_bytes() == CONTENT
    assert handler.asked == ["bytes=777-", f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_longer_than_the_file_starts_again(server, tmp_path, told, size):
    handler, url = server
    handler.told = told
    (tmp_path / "a.bin.part").write_bytes(b"x" * (len(CONTENT) + 1))
    assert fetch(RemoteFile("a.bin", url, size), tmp_path).read_bytes() == CONTENT
    assert handler.asked[-1] is None and len(handler.asked) == (2 if size is None else 1)


def test_empty_answers_and_other_answers_are_refused_and_not_kept(server, tmp_path):
    handler, url = server
    for size in (None, 10):
        with pytest.raises(MoleculeError, match="empty.bin: found an empty answer, wanted the file"):
            fetch(RemoteFile("a.bin", url.replace("data", "empty"), size), tmp_path)
    handler.status = 204
    with pytest.raises(MoleculeError, match="data.bin: found an answer of status 204, wanted 200 or 206"):
        fetch(RemoteFile("a.bin", url), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_without_ranges_starts_again(server, tmp_path):
    handler, url = server
    handler.ranges = False
    (tmp_path / "a.bin.part").write_bytes(b"x" * 777)
    assert fetch(RemoteFile("a.bin", url), tmp_path).read_bytes() == CONTENT


def test_other_sizes_and_contents_are_refused_and_not_kept(server, tmp_path):
    _, url = server
    with pytest.raises(MoleculeError, match="found 1280000 bytes, wanted 1279000; the file there is another one"):
        fetch(RemoteFile("a.bin", url, 1279000), tmp_path)
    with pytest.raises(MoleculeError, match="found 1280000 bytes, wanted 1281000"):
        fetch(RemoteFile("a.bin", url, 1281000), tmp_path)
    with pytest.raises(MoleculeError, match="found content with sha256 .*, wanted 000000000000"):
        fetch(RemoteFile("a.bin", url, len(CONTENT), "0" * 64), tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_files_are_fetched_where_that_is_allowed(server, tmp_path, monkeypatch):
    handler, url = server
    monkeypatch.delenv("WEIGHTSPACE_DATA", raising=False)
    files = [RemoteFile("a.bin", url), RemoteFile("b.bin", url)]
    with pytest.raises(ConfigurationError, match=r"no data folder; .* it is to hold ROOT/set/a.bin from http://"):
        official_files("set", files, root=None)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin").write_bytes(b"here")
    with pytest.raises(ConfigurationError, match=rf"found no b.bin in .*put {tmp_path}/set/b.bin from http"):
        official_files("set", files, root=tmp_path)
    assert handler.asked == []
    folder = official_files("set", files, root=tmp_path, download=True)
    assert (folder / "b.bin").read_bytes() == CONTENT and len(handler.asked) == 1
    assert official_files("set", files, root=folder) == folder


def test_a_place_that_does_not_answer_is_named_with_what_to_do(server, tmp_path):
    _, url = server
    gone = RemoteFile("c.bin", url.replace("data", "gone"))
    with pytest.raises(ConfigurationError, match=r"gone.bin cannot be fetched .*404.* Or put .*/set/c.bin from"):
        official_files("set", [gone], root=tmp_path, download=True)
    closed = RemoteFile("c.bin", "http://127.0.0.1:9/c.bin")
    with pytest.raises(ConfigurationError, match="cannot be fetched .*refused"):
        official_files("set", [closed], root=tmp_path, download=True)


def test_a_bar_shows_the_progress(server, tmp_path, capsys):
    _, url = server
    fetch(RemoteFile("a.bin", url), tmp_path, progress=True)
    assert "a.bin: 100%" in capsys.readouterr().err
