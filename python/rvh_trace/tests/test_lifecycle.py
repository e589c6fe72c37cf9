import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

import rvh_trace
from rvh_trace import span

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def run(code, collector, *, check=True, variables=None, **options):
    environment = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    environment |= variables or {}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
        **options,
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def names(collector):
    return sorted(item["name"] for item in collector.spans)


@needs_fork
def test_a_fork_loses_nothing_and_sends_nothing_twice(collector):
    run(
        """
        import os, rvh_trace
        rvh_trace.init_tracing()
        with rvh_trace.span("before"):
            pass
        with rvh_trace.span("across") as across:
            pid = os.fork()
            if pid == 0:
                with rvh_trace.span("in child"):
                    pass
                assert rvh_trace.stats()["recorded"] == 1
                rvh_trace.flush()
                os._exit(0)
            os.waitpid(pid, 0)
        with rvh_trace.span("in parent"):
            pass
        """,
        collector,
    )
    assert names(collector) == ["across", "before", "in child", "in parent"]
    by_name = {item["name"]: item for item in collector.spans}
    assert by_name["in child"]["parent_span_id"] == by_name["across"]["span_id"]
    assert len({item["span_id"] for item in collector.spans}) == 4
    assert len({resource["process.pid"] for resource in collector.resources}) == 2


@needs_fork
def test_many_forks_while_threads_record(collector):
    result = run(
        """
        import os, threading, rvh_trace
        rvh_trace.init_tracing()
        stop = threading.Event()
        def work():
            while not stop.is_set():
                with rvh_trace.span("thread"):
                    pass
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        pids = []
        for number in range(20):
            pid = os.fork()
            if pid == 0:
                with rvh_trace.span(f"child"):
                    pass
                os._exit(0 if rvh_trace.flush(20) else 1)
            pids.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in pids]
        stop.set()
        for thread in threads:
            thread.join()
        print(codes)
        """,
        collector,
    )
    assert result.stdout.strip() == str([0] * 20)
    assert names(collector).count("child") == 20


@needs_fork
def test_a_fork_while_another_thread_shuts_down(collector):
    """What that thread holds is never let go in the child, where the thread is not."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run(
            f"""
            import os, threading, rvh_trace
            from rvh_trace import _native
            rvh_trace.init_tracing(endpoint="http://127.0.0.1:{silent.getsockname()[1]}")
            with rvh_trace.span("parent"):
                pass
            threading.Thread(target=rvh_trace.shutdown, args=(50,), daemon=True).start()
            while _native.is_set_up():
                pass
            pid = os.fork()
            if pid == 0:
                rvh_trace.shutdown(0.1)
                rvh_trace.init_tracing(exporter="memory")
                with rvh_trace.span("child"):
                    pass
                names = [span.name for span in rvh_trace.finished_spans()]
                os._exit(0 if names == ["child"] else 1)
            print(os.waitpid(pid, 0)[1], flush=True)
            os._exit(0)
            """,
            collector,
        )
    assert result.stdout == "0\n"


@needs_fork
def test_prefork_workers_lose_nothing_and_send_nothing_twice(collector):
    """A parent that sets up and forks, as gunicorn does: workers serve, end, and are replaced."""
    result = run(
        """
        import os, signal, threading, rvh_trace
        WORKERS, REQUESTS = 3, 50
        rvh_trace.init_tracing(service_name="prefork")

        def serve(number):
            def request(thread):
                for n in range(REQUESTS):
                    with rvh_trace.span(f"request {number} {thread} {n}"):
                        with rvh_trace.span("query"):
                            pass
            threads = [threading.Thread(target=request, args=(t,)) for t in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # At exit it may take two seconds, which is little on a busy machine.
            assert rvh_trace.flush(40)
            done.write(b".")
            # Not sent by the parent: it could come just before the wait for it.
            signal.raise_signal(signal.SIGTERM)

        def fork(number):
            # Spans that wait in the parent's queue must not be sent by the child as well.
            with rvh_trace.span(f"fork {number}"):
                pid = os.fork()
                if pid == 0:
                    serve(number)
                return pid

        read, write = os.pipe()
        done = os.fdopen(write, "wb", buffering=0)
        for number in range(2 * WORKERS):
            if number >= WORKERS:
                # A worker has done its work, and another one takes its place.
                assert os.read(read, 1) == b"."
            fork(number)
        codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2 * WORKERS)]
        assert set(codes) == {-signal.SIGTERM}, codes
        assert rvh_trace.flush(20)
        print(rvh_trace.stats()["recorded"])
        """,
        collector,
    )
    # The parent has recorded its own spans alone.
    assert result.stdout == "6\n"
    expected = [f"request {w} {t} {n}" for w in range(6) for t in range(2) for n in range(50)]
    expected += [f"fork {w}" for w in range(6)] + ["query"] * 600
    assert names(collector) == sorted(expected)
    assert len({item["span_id"] for item in collector.spans}) == len(expected)
    assert len({resource["process.pid"] for resource in collector.resources}) == 7


@pytest.mark.parametrize(
    "method",
    [pytest.param("fork", marks=needs_fork), "spawn", pytest.param("forkserver", marks=needs_fork)],
)
def test_children_of_multiprocessing_are_flushed(collector, tmp_path, method):
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(f"""
        import multiprocessing, rvh_trace
        def work(number):
            rvh_trace.init_tracing()
            with rvh_trace.span(f"child {{number}}"):
                pass
        if __name__ == "__main__":
            rvh_trace.init_tracing()
            with rvh_trace.span("parent"):
                context = multiprocessing.get_context({method!r})
                children = [context.Process(target=work, args=(n,)) for n in range(3)]
                for child in children:
                    child.start()
                for child in children:
                    child.join()
                assert [child.exitcode for child in children] == [0, 0, 0]
        """)
    )
    environment = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    result = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    assert names(collector) == ["child 0", "child 1", "child 2", "parent"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM handlers")
def test_sigterm_flushes_and_still_terminates(collector):
    result = run(
        """
        import os, signal, rvh_trace
        rvh_trace.init_tracing()
        with rvh_trace.span("last"):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        collector,
        check=False,
    )
    assert result.returncode == -signal.SIGTERM
    assert names(collector) == ["last"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM handlers")
def test_a_handler_of_sigterm_stays(collector):
    result = run(
        """
        import os, signal, rvh_trace
        signal.signal(signal.SIGTERM, lambda *_: print("mine"))
        rvh_trace.init_tracing()
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        collector,
    )
    assert result.stdout == "mine\n"


def test_a_dead_collector_does_not_hold_up_the_exit(tmp_path):
    code = """
        import atexit, time
        started = []
        # Runs last: functions run in the reverse of the order in which they were registered.
        atexit.register(lambda: print(time.monotonic() - started[0]))
        import rvh_trace
        rvh_trace.init_tracing()
        with rvh_trace.span("s"):
            pass
        started.append(time.monotonic())
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        environment = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=environment,
        )
    # Bounded by its own limit of two seconds, and far from the ten of a request.
    assert float(result.stdout) < 6


def test_threads_record_into_one_queue(memory):
    import threading

    def work(number):
        for _ in range(200):
            with span(f"thread {number}"):
                pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rvh_trace.finished_spans()) == 1600
    assert len({item.span_id for item in rvh_trace.finished_spans()}) == 1600


def test_the_first_span_sets_up_where_the_environment_says_so(collector):
    code = """
        import rvh_trace
        with rvh_trace.span("first"):
            pass
        with rvh_trace.span("second"):
            pass
    """
    run(code, collector)
    assert names(collector) == []
    os.environ["RVH_TRACE_AUTO"] = "1"
    try:
        run(code, collector)
    finally:
        del os.environ["RVH_TRACE_AUTO"]
    assert names(collector) == ["first", "second"]


@pytest.mark.parametrize("by_methods", [False, True])
def test_the_context_is_kept_also_without_the_interpreters_own_functions(collector, by_methods):
    environment = {"RVH_TRACE_CONTEXT_VAR_BY_METHODS": "1"} if by_methods else {}
    run(
        """
        import contextvars, rvh_trace
        rvh_trace.init_tracing()
        with rvh_trace.span("outer") as outer:
            with rvh_trace.span("inner"):
                pass
            assert rvh_trace.current_span() is outer
            left = rvh_trace.span("left elsewhere")
            other = contextvars.copy_context()
            other.run(left.__enter__)
            left.__exit__(None, None, None)
            assert rvh_trace.current_span() is outer
            assert other.run(rvh_trace.current_span) is left
        assert rvh_trace.current_context() is None
        """,
        collector,
        variables=environment,
    )
    by_name = {item["name"]: item for item in collector.spans}
    assert by_name["inner"]["parent_span_id"] == by_name["outer"]["span_id"]
    assert by_name["left elsewhere"]["parent_span_id"] == by_name["outer"]["span_id"]


def test_a_span_object_is_used_again_only_when_nobody_has_it(memory):
    kept = []
    for number in range(20):
        with span(f"kept {number}") as opened:
            kept.append(opened)
        with span("not kept"):
            pass
        with span(f"looked at {number}"):
            kept.append(rvh_trace.current_span())
    assert len({id(item) for item in kept}) == 40
    assert [item.span_id for item in kept] == [
        item.span_id for item in rvh_trace.finished_spans() if item.name != "not kept"
    ]
    assert not any(item.is_recording() for item in kept)
