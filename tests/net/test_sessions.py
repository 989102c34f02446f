"""How sessions over sockets begin and end: keys, busy listeners, strangers, restarts."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from net import (
    AddressError,
    AuthError,
    Busy,
    Listener,
    NetError,
    PeerGone,
    PublicKey,
    RemoteError,
    Timeout,
)
from net.zeromq import Router
from tests.net.helpers import (
    ANYWHERE,
    CLIENT,
    IMPATIENT,
    LIMIT_S,
    QUICK,
    SERVER,
    call,
    channel_pair,
    check_echo,
    echo,
    new_keys,
    outcomes,
    port_of,
    together,
    use,
    zmq_pair,
)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener(ANYWHERE, SERVER, [CLIENT.public], QUICK) as listener:
        yield listener


class TestKeys:
    def test_the_peer_is_known_by_the_name_beside_its_key(self) -> None:
        alice = new_keys("alice")
        renamed = PublicKey("dealer", alice.public.z85)
        with Listener(ANYWHERE, SERVER, [CLIENT.public, renamed], QUICK) as listener:
            server, client = together(lambda: listener.accept(LIMIT_S), lambda: call(listener, alice))
            assert (server.peer, client.local) == ("dealer", "alice")
            assert (server.peer_key, client.peer_key) == (alice.public.z85, SERVER.public.z85)
            server.close()
            client.close()

    @pytest.mark.parametrize("kind", ["memory", "plaintext"])
    def test_no_key_is_claimed_where_none_was_proven(self, kind: str, tmp_path: Path) -> None:
        with channel_pair(kind, tmp_path) as pair:
            assert [end.peer_key for end in pair] == [None, None]

    def refused(self, listener: Listener, **how: object) -> Exception:
        """What connecting raises; it must not take long, although the listener goes on waiting."""
        began = time.monotonic()
        accepted, refusal = outcomes(lambda: listener.accept(1.0), lambda: call(listener, **how))
        assert isinstance(accepted, Timeout)
        assert isinstance(refusal, NetError)
        assert time.monotonic() - began < 3.0
        return refusal

    def test_an_unknown_key_is_refused(self, listener: Listener) -> None:
        refusal = self.refused(listener, keys=new_keys("client"))
        assert isinstance(refusal, AuthError)
        assert "server at tcp://127.0.0.1" in str(refusal)
        assert "does not accept our key" in str(refusal)

    def test_a_false_server_is_refused(self, listener: Listener) -> None:
        refusal = self.refused(listener, server=new_keys("server").public)
        assert isinstance(refusal, AuthError)
        assert "does not hold the secret key of server" in str(refusal)

    def test_a_listener_that_expects_encryption_refuses_plaintext(self, listener: Listener) -> None:
        assert isinstance(self.refused(listener, plaintext=True), AuthError)

    def test_a_connector_that_expects_encryption_refuses_plaintext(self) -> None:
        with Listener(ANYWHERE, SERVER, [], QUICK, insecure_plaintext=True) as listener:
            assert isinstance(self.refused(listener), AuthError)

    def test_refusals_do_not_harm_the_listener(self, listener: Listener) -> None:
        self.refused(listener, keys=new_keys("client"))
        self.refused(listener, server=new_keys("server").public)
        _, client = together(lambda: echo(listener.accept(LIMIT_S)), lambda: use(listener))
        assert client is None

    def test_nobody_authorised_means_nobody_comes_in(self) -> None:
        with Listener(ANYWHERE, SERVER, [], QUICK) as listener:
            assert isinstance(self.refused(listener), AuthError)


class TestReaching:
    def test_nobody_listens(self) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets the port
            address = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
            with pytest.raises(Timeout, match=r"connect_timeout_s = 0\.3 s. Start the listener"):
                call(address, settings=IMPATIENT)

    def test_the_listener_does_not_answer(self, listener: Listener) -> None:
        with pytest.raises(Timeout, match=r"handshake_timeout_s = 0\.3 s. It may be computing"):
            call(listener, settings=IMPATIENT)

    def test_something_else_listens_and_is_silent(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as other,
            pytest.raises(Timeout, match="handshake_timeout_s"),
        ):
            call(f"tcp://127.0.0.1:{other.getsockname()[1]}", settings=IMPATIENT)

    @pytest.mark.parametrize(("words", "times"), [(b"SSH-2.0-OpenSSH_9.2\r\n", 1), (b"", 3)])
    def test_something_else_listens_and_hangs_up(self, words: bytes, times: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            other.settimeout(LIMIT_S)

            def talk() -> None:
                for _ in range(times):
                    with other.accept()[0] as connection:
                        connection.sendall(words)

            _, refusal = outcomes(talk, lambda: call(f"tcp://127.0.0.1:{other.getsockname()[1]}"))
            assert isinstance(refusal, AuthError)
            assert "no fastlmpi listener" in str(refusal)

    def test_the_listener_vanishes_before_it_answers(self) -> None:
        router = Router(QUICK)
        address = router.bind("tcp://127.0.0.1:*")

        def vanish() -> None:
            while router.receive() is None:
                router.poll(LIMIT_S)
            router.close(linger=False)

        _, refusal = outcomes(vanish, lambda: call(address, plaintext=True))
        assert isinstance(refusal, PeerGone)
        assert "hung up before the session began" in str(refusal)

    def test_a_host_that_cannot_be(self) -> None:
        with pytest.raises(AddressError, match="cannot connect to tcp://no such host:1"):
            call("tcp://no such host:1")

    def test_the_connector_may_start_first(self) -> None:
        with socket.socket() as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
            tried = threading.Event()

            def visit() -> None:
                tried.set()
                with call(address) as channel:
                    check_echo(channel)

            def serve() -> None:
                tried.wait(LIMIT_S)
                reserved.close()
                with Listener(address, SERVER, [CLIENT.public], QUICK) as listener:
                    echo(listener.accept(LIMIT_S))

            together(serve, visit)

    def test_accept_times_out(self, listener: Listener) -> None:
        with pytest.raises(Timeout, match=r"a connection to tcp://127\.0\.0\.1:\d+ .* timeout_s = 0\.05 s"):
            listener.accept(0.05)

    def test_the_real_port_is_told(self, listener: Listener) -> None:
        assert port_of(listener) > 0

    @pytest.mark.parametrize("port", ["0", "*"])
    def test_any_interface(self, port: str) -> None:
        with Listener(f"tcp://*:{port}", SERVER, [CLIENT.public], QUICK) as listener:
            assert listener.address.startswith("tcp://0.0.0.0:")
            near = f"tcp://localhost:{port_of(listener)}"
            together(lambda: echo(listener.accept(LIMIT_S)), lambda: use(near))

    def test_an_address_in_use(self, listener: Listener) -> None:
        with pytest.raises(AddressError, match="Address already in use"):
            Listener(listener.address, SERVER, [CLIENT.public], QUICK)


class TestOneAtATime:
    def test_a_second_peer_is_told_busy(self, listener: Listener) -> None:
        """While the first session waits; and the second peer gets in afterwards."""

        def visit() -> None:
            first = call(listener)
            check_echo(first)
            with pytest.raises(Busy, match=r"server at .* serves another peer"):
                call(listener)
            check_echo(first)
            first.close()
            with call(listener) as second:
                check_echo(second)

        def serve() -> None:
            for _ in range(2):
                echo(listener.accept(LIMIT_S))

        together(serve, visit)

    def test_accept_needs_the_previous_session_closed(self, listener: Listener) -> None:
        server, client = together(lambda: listener.accept(LIMIT_S), lambda: call(listener))
        with pytest.raises(RuntimeError, match="close the current session"):
            listener.accept(0.1)
        server.close()
        client.close()

    def test_what_an_old_session_left_does_not_reach_the_next(self, listener: Listener) -> None:
        def visit() -> None:
            with call(listener) as first:
                for i in range(10):
                    first.send("stale", [bytes([i])])
                with pytest.raises(PeerGone):
                    first.recv("x", [])
            with call(listener) as second:
                check_echo(second)

        def serve() -> None:
            with listener.accept(LIMIT_S) as first:
                first.recv("stale", [1])
            echo(listener.accept(LIMIT_S))

        together(serve, visit)

    def test_a_peer_that_hung_up_while_waiting_is_not_accepted(self) -> None:
        with Listener(ANYWHERE, SERVER, [], QUICK, insecure_plaintext=True) as listener:
            with pytest.raises(Timeout, match=r"an answer from server .* handshake_timeout_s"):
                call(listener, settings=IMPATIENT, plaintext=True)  # nobody accepts: the listener computes
            with pytest.raises(Timeout):
                listener.accept(0.3)


class TestEnds:
    def test_closing_right_after_the_peer_does_not_hang(self) -> None:
        """libzmq waits for ever for a farewell to a peer just gone, unless it knows better from the start."""
        for _ in range(40):
            with zmq_pair() as (client, server):
                client.close()
                server.close()

    @pytest.mark.parametrize("doing", ["accept", "recv"])
    def test_ctrl_c_interrupts_waiting(self, listener: Listener, doing: str) -> None:
        main = threading.get_ident()
        about_to = threading.Event()

        def press() -> None:
            about_to.wait(LIMIT_S)
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=press)
        thread.start()
        with zmq_pair() as (client, _), pytest.raises(KeyboardInterrupt):
            about_to.set()
            client.recv("x", []) if doing == "recv" else listener.accept()
        thread.join()

    def test_closing_the_listener_ends_the_session(self) -> None:
        with zmq_pair() as (client, server):
            pass
        for channel in (client, server):
            with pytest.raises(NetError):
                channel.send("x", [])

    def test_a_listener_closed_under_its_channel(self) -> None:
        listener = Listener(ANYWHERE, SERVER, [CLIENT.public], QUICK)
        server, client = together(lambda: listener.accept(LIMIT_S), lambda: call(listener))
        listener.close()
        listener.close()
        for channel in (client, server):
            with channel, pytest.raises(PeerGone, match="is lost"):
                channel.recv("x", [])

    def test_a_restarted_listener_does_not_revive_an_old_session(self) -> None:
        """libzmq connects again by itself; the session must not."""
        listener = Listener(ANYWHERE, SERVER, [CLIENT.public], QUICK)
        address = listener.address
        _, old = together(lambda: listener.accept(LIMIT_S), lambda: call(listener))
        listener.close()
        with Listener(address, SERVER, [CLIENT.public], QUICK) as restarted:
            with pytest.raises(Timeout):
                restarted.accept(0.5)  # the old connection comes back, without a hello
            with old, pytest.raises(PeerGone):
                old.send("x", [b"old"])
            together(lambda: echo(restarted.accept(LIMIT_S)), lambda: use(address))

    def test_reason_arrives_when_both_stop_in_the_middle(self) -> None:
        with zmq_pair() as (client, server):

            def give_up() -> None:
                server.recv("x", [])
                server.send_error("model digest differs")
                server.close()

            def work() -> None:
                client.send("x", [])
                while True:
                    client.send("data", [bytes(1 << 20)])

            _, refusal = outcomes(give_up, work)
            assert isinstance(refusal, RemoteError)
            assert "model digest differs" in str(refusal)

    def test_ipc_paths_are_neither_stolen_nor_left_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with closing(socket.socket(socket.AF_UNIX)) as dead:
            dead.bind(str(path))
        with zmq_pair(f"ipc://{path}") as (client, server):
            with pytest.raises(AddressError, match="already in use"):
                Listener(f"ipc://{path}", SERVER, [CLIENT.public], QUICK)
            client.send("x", [])
            server.recv("x", [])
        assert not path.exists()
